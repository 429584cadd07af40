"""What the commands say and exit with, where no server is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from aragora_redis.cli import serve as serve_command
from aragora_redis.cli import sessions as sessions_command
from aragora_redis.cli.app import command_line, run
from aragora_redis.errors import LinkDownError
from aragora_redis.lab.credentials import load_credentials
from aragora_redis.lab.files import make_private
from aragora_redis.ops import targets
from aragora_redis.state.revocations.receipt import Level, Receipt
from aragora_redis.state.sessions.endable import EndedSessions

COMMAND = (sys.executable, "-m", "aragora_redis")


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch, tmp_path):
    for name in [name for name in os.environ if name.startswith("ARAGORA_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def call():
    def invoke(*arguments, **env):
        return CliRunner().invoke(command_line(), list(arguments), env=env)

    return invoke


def failed(capsys, *arguments):
    """The one message of a command that fails."""
    with pytest.raises(SystemExit) as end:
        run(arguments)
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (1, "")
    assert err.startswith("error: ")
    return err


def _ends(command, path=()):
    """Every command that runs, with its words."""
    nested = getattr(command, "commands", None)
    if nested is None:
        return {" ".join(path): command}
    names = command.list_commands(click.Context(command))
    found = ((name, command.get_command(click.Context(command), name)) for name in names)
    return {at: each for name, one in found for at, each in _ends(one, (*path, name)).items()}


def test_every_command_has_json_but_the_one_that_is_of_another_server():
    commands = _ends(get_command(command_line()))
    assert {"health", "lab proxy", "tokens export"} <= commands.keys()
    lacking = {
        path
        for path, command in commands.items()
        if not any("--json" in parameter.opts for parameter in command.params)
    }
    assert lacking == {"run-aragora"}


def test_failover_says_that_it_is_not_on_the_record(call):
    told = " ".join(call("failover", "--help").output.split())
    assert "It is not on the record that audit shows" in told.replace("`", "")


@pytest.mark.parametrize(
    "path",
    ["", "up", "down", "serve", "health", "bench", "label-keeper", "settings", "version", "lab"],
)
def test_every_command_explains_itself(call, path):
    result = call(*path.split(), "--help")
    assert result.exit_code == 0
    assert "Usage: " in result.output


def test_what_is_said_of_a_command_is_what_it_says_itself():
    def said(line):
        group: Any = get_command(line)
        return {
            name: " ".join(each.help.split("\n\n")[0].split())
            for name, each in group.commands.items()
        }

    assert said(command_line(())) == said(command_line())


def test_a_lab_has_one_name_on_every_command():
    def commands(group):
        for each in group.commands.values():
            yield from commands(each) if hasattr(each, "commands") else (each,)

    named = {
        option
        for command in commands(get_command(command_line()))
        for parameter in command.params
        if parameter.name in {"lab", "directory"}
        for option in parameter.opts
    }
    assert named == {"--lab"}


@pytest.mark.parametrize(
    "arguments",
    [
        "nonsense",
        "up --mode cloud",
        "lab move-slots 9-5 redis-0",
        "lab move-slots x redis-0",
        "up --port 0",
        "up --port 65535 --gateways 2",
        "up --mode embedded --gateways 2",
        "serve --port x",
        "lab kill",
        "lab kill redis-0 --all",
        "lab start --wipe",
        "lab start redis-0 --mode standalone",
        "health --deadline 0",
        "bench --seconds 0",
        "tokens export /",
        "tokens export .",
        "migrate plan --from redis://h --journal .",
        "migrate plan --from redis://h --from-lab there",
    ],
)
def test_a_command_line_that_cannot_be_meant_ends_with_2(call, tmp_path, arguments):
    result = call(*arguments.split())
    assert result.exit_code == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", ["revoke", "pardon"])
@pytest.mark.parametrize("given", ["--reason stolen", "--user 42"])
def test_who_names_half_of_a_revocation_is_told_all_that_it_takes(call, verb, given):
    result = call("tokens", verb, *given.split())
    usage = " ".join(result.output.split())
    assert result.exit_code == 2
    assert f"tokens {verb} (--jti ID|--user ID|--tenant ID|--family ID" in usage
    assert ") --reason WHY [OPTIONS]" in usage


def test_the_version_is_told(call):
    assert call("--version").output == call("version").output
    assert json.loads(call("version", "--json").output)["version"] + "\n" == call("version").output


def test_settings_show_sources_and_no_secret(call):
    env = {
        "ARAGORA_REDIS_URL": "redis://app:hidden-word@redis.example:6379/2",
        "ARAGORA_RATE_LIMIT_FAIL_OPEN": "true",
    }
    result = call("settings", **env)
    assert result.exit_code == 0
    row = next(line for line in result.stdout.splitlines() if line.startswith("fail_open"))
    assert row.split() == ["fail_open", "true", "ARAGORA_RATE_LIMIT_FAIL_OPEN"]
    assert "warning: ARAGORA_RATE_LIMIT_FAIL_OPEN is true" in result.stdout
    as_json = call("settings", "--json", **env)
    rows = {row["name"]: row for row in json.loads(as_json.stdout)["settings"]}
    assert rows["db"]["source"] == "the URL in ARAGORA_REDIS_URL"
    assert "hidden-word" not in result.output + as_json.output


@pytest.mark.parametrize("command", ["settings", "serve", "up"])
def test_garbage_in_the_settings_is_listed_at_once(capsys, monkeypatch, tmp_path, command):
    monkeypatch.setenv("ARAGORA_LOG_LEVEL", "loud")
    monkeypatch.setenv("ARAGORA_RATE_LIMIT_FAIL_OPEN", "perhaps")
    message = failed(capsys, command)
    assert "2 problems" in message
    assert "ARAGORA_LOG_LEVEL" in message
    assert "ARAGORA_RATE_LIMIT_FAIL_OPEN" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [("serve", "--port", "1"), ("up", "--mode", "embedded")])
def test_a_malformed_policies_file_is_told_with_its_line(capsys, monkeypatch, tmp_path, command):
    (tmp_path / "policies.toml").write_text('[limits.api]\nrats = "1/second"\n')
    monkeypatch.setenv("ARAGORA_POLICIES", "policies.toml")
    assert "policies.toml, line 2: unknown key 'rats'" in failed(capsys, *command)
    assert not (tmp_path / ".lab").exists()


def test_without_a_server_program_up_names_what_works_without(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("ARAGORA_REDIS_SERVER", str(tmp_path / "none"))
    message = failed(capsys, "up")
    assert "--mode embedded" in message
    assert message.count("\n") == 1
    assert not (tmp_path / ".lab").exists()


def test_a_lab_that_is_not_there_is_one_line(capsys, tmp_path):
    assert "there is no lab in" in failed(capsys, "lab", "status")
    said = failed(capsys, "lab", "status", "--lab", str(tmp_path / "my lab"))
    assert f"(start one with: aragora-redis lab start --lab '{tmp_path}/my lab')" in said


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="every file can be read")
@pytest.mark.parametrize(
    "arguments",
    ["sessions look --id-file /proc/self/mem", "tokens look --token-file /proc/self/mem"],
)
def test_a_file_that_opens_and_cannot_be_read_is_named(capsys, monkeypatch, arguments):
    monkeypatch.setenv("ARAGORA_REDIS_URL", "redis://127.0.0.1:1")
    assert "/proc/self/mem: Input/output error" in failed(capsys, *arguments.split())


@pytest.mark.parametrize("words", ["--of tokns", "--deadline 0", "--nonsense"])
def test_a_check_that_is_misspelt_is_unknown_to_a_monitor(words):
    with pytest.raises(SystemExit) as end:
        run(["health", *words.split()])
    assert end.value.code == 3, "2 would be an outage"
    with pytest.raises(SystemExit) as end:
        run(["doctor", *words.split()])
    assert end.value.code == 2


def test_health_of_a_lab_that_is_not_there_is_unknown_to_a_monitor(call):
    answer = call("health", "--lab", "nowhere")
    assert answer.exit_code == 3
    assert answer.output.startswith("UNKNOWN: there is no lab in")


def test_settings_in_a_pipe_keep_each_row_on_one_line(call, monkeypatch):
    hosts = ",".join(f"a-sentinel-with-a-long-name-{number}.example:26379" for number in range(6))
    monkeypatch.setenv("ARAGORA_REDIS_SENTINEL_HOSTS", hosts)
    monkeypatch.setenv("ARAGORA_REDIS_SENTINEL_MASTER", "m")
    rows = call("settings").output.splitlines()
    assert any(all(host in row for host in hosts.split(",")) for row in rows)


def test_down_without_a_lab_has_nothing_to_do(call):
    assert (call("down").exit_code, call("down").output) == (0, "nothing runs\n")


def test_health_knows_nothing_without_settings(call):
    result = call("health")
    assert result.exit_code == 3
    assert result.output.startswith("UNKNOWN: no Redis is configured")


@pytest.mark.parametrize("command", ["health", "status", "circuits list"])
def test_a_mistyped_name_is_told_where_something_is_missing(capsys, monkeypatch, command):
    monkeypatch.setenv("ARAGORA_REDIS_URI", "redis://127.0.0.1:1")
    with pytest.raises(SystemExit):
        run(command.split())
    said = capsys.readouterr()
    assert "no Redis is configured" in said.out + said.err
    assert "ARAGORA_REDIS_URI is not read here: is ARAGORA_REDIS_URL meant?" in said.err


@pytest.mark.parametrize("command", ["health", "status", "audit", "circuits list"])
def test_without_settings_a_lab_that_is_here_is_named(capsys, command):
    Path(".lab").mkdir()
    with pytest.raises(SystemExit):
        run(command.split())
    said = "".join(capsys.readouterr())
    assert "no Redis is configured" in said
    assert "name the lab that is here with --lab .lab" in said


def test_what_embedded_mode_leaves_is_said_to_have_no_servers(call):
    make_private(Path("emb"))
    load_credentials(Path("emb"))
    said = call("health", "--lab", "emb").output
    assert "emb is of an `up` in embedded mode, which has no servers to look at" in said


def test_settings_that_cannot_be_used_are_one_unknown_line(call):
    result = call("health", ARAGORA_REDIS_URL="nonsense", ARAGORA_PORT="x")
    assert result.exit_code == 3
    assert result.output.startswith("UNKNOWN: the settings have 2 problems: - ")
    assert result.output.count("\n") == 1


@pytest.mark.parametrize("form", ["", "--json", "--prometheus figures.prom"])
def test_who_issues_no_credential_leaves_the_health_unknown(call, monkeypatch, form):
    class Issuer:
        def issue(self):
            raise LinkDownError("the issuer cannot be reached", remedy="see whether it answers")

    monkeypatch.setattr(targets, "source_of", lambda _credentials: Issuer())
    result = call("health", *form.split(), ARAGORA_REDIS_URL="redis://127.0.0.1:1")
    assert result.exit_code == 3
    said = json.loads(result.output)["headline"] if form == "--json" else result.output
    assert said.startswith("UNKNOWN: the issuer cannot be reached (see whether it answers)")


def test_a_host_that_cannot_be_resolved_is_critical(call):
    result = call("health", ARAGORA_REDIS_URL="redis://no-such-host.invalid:6379/0")
    assert result.exit_code == 2
    assert "no-such-host.invalid:6379 has a name that cannot be resolved" in result.output


def test_a_unix_socket_is_not_asked_and_said_so(call):
    result = call("health", ARAGORA_REDIS_URL="unix:///run/redis.sock")
    assert result.exit_code == 3
    assert "/run/redis.sock" in result.output


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_what_is_not_installed_is_named(missing):
    program = (
        f"import sys; sys.modules[{missing!r}] = None\nfrom aragora_redis.cli import main; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=30
    )
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "pip install '/path/to/this/checkout[cli]'" in line


def test_serve_names_what_the_gateway_lacks(capsys, monkeypatch):
    monkeypatch.setattr(serve_command, "_NEEDED", ("fastapi", "no_such_module"))
    message = failed(capsys, "serve")
    assert "needs no_such_module" in message
    assert "pip install '/path/to/this/checkout[gateway]'" in message


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:1"], ids=["no Redis", "a managed one"])
def test_nothing_drilled_is_no_objective_missed(capsys, monkeypatch, url):
    monkeypatch.setenv("ARAGORA_REDIS_URL", url)
    with pytest.raises(SystemExit) as end:
        run(("drill", "kill-primary"))
    out, err = capsys.readouterr()
    assert (end.value.code, out) == (2, "")
    assert err.startswith("error: ")


def test_nothing_is_coloured_in_a_pipe(call):
    assert "\x1b" not in call("settings").output


def test_a_reader_that_leaves_ends_it_without_a_word():
    reader, writer = os.pipe()
    os.close(reader)
    try:
        result = subprocess.run(
            [*COMMAND, "settings"], stdout=writer, stderr=subprocess.PIPE, check=False, timeout=30
        )
    finally:
        os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


@pytest.mark.parametrize(
    ("count", "says"),
    [(None, "all ended: primary"), (0, "the user has no session"), (2, "2 ended")],
)
def test_whose_sessions_cannot_be_counted_is_not_said_to_have_none(call, monkeypatch, count, says):
    ended = EndedSessions(count, Receipt(Level.PRIMARY, Level.PRIMARY))
    monkeypatch.setattr(sessions_command, "at_desk", lambda *_, **__: ended)
    arguments = ("sessions", "end", "--user", "42", "--reason", "lost", "--actor", "alice")
    assert call(*arguments).stdout.startswith(says)
    told = json.loads(call(*arguments, "--json").stdout)
    assert told["ended"] == count
