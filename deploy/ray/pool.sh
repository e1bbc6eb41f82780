# Sourced on a machine of machines.yaml: which pool it serves, from /etc/stepcoder-pool (one word) or from its GPUs.
pool=$(cat /etc/stepcoder-pool 2>/dev/null || { nvidia-smi -L >/dev/null 2>&1 && echo gpu || echo sandbox; })
pool_gpu=$(nvidia-smi -L >/dev/null 2>&1 && echo 1 || true)
case $pool in
rollout) pool_roles=rollout pool_resources='{"rollout": 64}' ;;
learner) pool_roles=learner pool_resources='{"learner": 64}' ;;
gpu) pool_roles="rollout learner" pool_resources='{"rollout": 64, "learner": 64}' ;;
sandbox) pool_roles=sandbox-executor pool_resources='{"sandbox_node": 1}' ;;
*) echo "/etc/stepcoder-pool: '$pool' is no pool; write one of rollout, learner, gpu, sandbox" >&2; exit 2 ;;
esac
