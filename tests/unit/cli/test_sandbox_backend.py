"""A command offers no backend that it cannot start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from stepcoder_dist.cli.commands import app
from stepcoder_dist.launch import serve_sandbox


@pytest.mark.parametrize(
    "command",
    [
        ["judge", "--problems", "{folder}/p", "--programs", "{folder}/c", "--out", "{folder}/v"],
        ["data", "refine", "{folder}/p", "--out", "{folder}/out"],
    ],
)
def test_a_command_without_sockets_does_not_offer_guests_of_somebody_else(
    tmp_path: Path, command: list[str]
) -> None:
    arguments = [part.format(folder=tmp_path) for part in command]
    refused = CliRunner().invoke(app, [*arguments, "--backend", "attached"])
    assert refused.exit_code == 2
    assert "'attached' is not one of" in refused.output


def test_the_service_is_told_where_guests_listen(monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[Any] = []
    monkeypatch.setattr(serve_sandbox, "serve", lambda config, **_: served.append(config))
    options = ["--backend", "attached", "--sockets", "/guests/*/guest.sock"]
    said = CliRunner().invoke(app, ["sandbox", "serve", *options])
    assert said.exit_code == 0, said.output
    assert (served[0].backend, served[0].sockets) == ("attached", "/guests/*/guest.sock")
