# Sourced by build_images.sh and wheel_folder.sh, which define `die`. One role is one extra of pyproject.toml;
# the driver also prepares sets and compares runs.
ROLES="rollout, learner, sandbox-executor, driver, guest"

extras_of() { # ROLE GPU
    case $1 in
    rollout) if [ -n "$2" ]; then echo actors; else echo actors-cpu; fi ;;
    learner) echo learner ;;
    sandbox-executor) echo sandbox ;;
    driver) echo driver,data,report ;;
    guest) ;; # nothing but Python
    *) die "unknown image '$1'; use one or more of $ROLES" ;;
    esac
}
