"""The program itself: exit codes, the edge where errors become words, lazy loading, help and completion."""

import json
import os
import subprocess
import sys

import click
import pytest
import yaml

from cli.homes import HITL, AHome, a_spec
from hitl.errors import (
    AlreadyExists,
    AmbiguousName,
    Conflict,
    EvaluationFailed,
    Forbidden,
    HitlError,
    InvalidCall,
    InvalidDecision,
    InvalidPolicy,
    NoLongerPending,
    NotFound,
    Problem,
    Refused,
    StoreUnavailable,
    Unavailable,
)
from hitl_cli import main
from hitl_cli.edge import exit_code_of, words_for
from hitl_cli.exits import Exit, worst


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (NoLongerPending("x"), 3),
        (Forbidden("x"), 4),
        (AmbiguousName("x", ("a", "b")), 2),
        (NotFound("x"), 1),
        (Refused("x"), 1),
        (Conflict("x"), 1),
        (AlreadyExists("x"), 1),
        (StoreUnavailable("x"), 1),
        (InvalidDecision("x"), 1),
        (InvalidCall("x"), 1),
        (EvaluationFailed("x"), 1),
        (Unavailable("NO_CONFIG", "x"), 1),
        (HitlError("x"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code(error: HitlError, code: int) -> None:
    """3 no longer pending, 4 forbidden, 2 what was typed, 1 everything else."""
    assert exit_code_of(error) == code


@pytest.mark.parametrize(
    ("codes", "wins"),
    [
        ([0, 5], 5),
        ([5, 3, 0], 3),
        ([3, 4, 5], 4),
        ([4, 1, 3, 5, 0], 1),
        ([0, 0], 0),
        ([], 0),
    ],
)
def test_of_several_answers_the_worst_exit_code_wins(codes: list[int], wins: int) -> None:
    """In the order 1, 4, 3, 5, 0."""
    assert worst(Exit(code) for code in codes) == wins


def test_every_problem_of_a_policy_is_said() -> None:
    """An InvalidPolicy becomes one line for each problem."""
    error = InvalidPolicy((Problem("spec.a", "one"), Problem("spec.b", "two")))
    assert words_for(error, {}) == ["error: spec.a: one", "error: spec.b: two"]


def test_what_should_not_happen_is_one_line_and_a_way_to_see_more() -> None:
    """An exception that is none of ours: its kind and where it comes from; its text only with HITL_TRACE=1."""
    error = ValueError("Invalid header value b'Bearer CANARY'")
    assert words_for(error, {})[0] == "error: this should not happen: ValueError"
    try:
        raise error
    except ValueError:
        lines = words_for(error, {})
    named = "error: this should not happen: ValueError in test_what_should_not_happen_is_one_line_and_a_way_to_see_more"
    assert lines[0].startswith(f"{named} (test_cli_program.py:")
    assert "HITL_TRACE=1" in lines[1]
    assert not any("CANARY" in each for each in lines)
    assert "CANARY" in words_for(error, {"HITL_TRACE": "1"})[-1]


def test_a_file_that_cannot_be_read_is_named() -> None:
    """The operating system's errors keep the file's name."""
    assert words_for(PermissionError(13, "Permission denied", "/x/y"), {}) == ["error: /x/y: Permission denied"]


@pytest.mark.parametrize("words", [["lsit"], ["list", "--nothing"], ["approve"], ["show"], ["list", "-o", "xml"]])
def test_what_cannot_be_parsed_exits_2_with_the_way_to_help(home: AHome, words: list[str]) -> None:
    """Unknown commands and options, missing arguments, wrong choices: words on stderr, nothing on stdout."""
    done = home.hitl(*words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    assert " --help" in done.err


def test_a_mistyped_command_is_told_which_was_meant(home: AHome) -> None:
    """A slip of the fingers is answered with the command; what is nobody's with the way to help."""
    assert home.hitl("aprove", "x").err.startswith("error: there is no command 'aprove'; did you mean approve?\n")
    assert home.hitl("xyzzy").err.startswith("error: No such command 'xyzzy'.\n")


def test_an_ambiguous_name_lists_ten_and_what_to_type(home: AHome) -> None:
    """Exit code 2, ten of the twelve that fit, how many more there are, and two commands that can be copied."""
    for number in range(12):
        home.request(f"many-{number:02}")
    done = home.hitl("show", "many-")
    assert done.code == 2
    first, *listed, more, look = done.err.splitlines()
    assert first == 'error: "many-" fits 12 requests; give more letters'
    assert [each.split()[0] for each in listed] == [f"many-{number:02}" for number in range(10)]
    assert more == "  … 2 more"
    assert look == "Look:  hitl show many-00    All:  hitl list"
    assert home.hitl("show", "many-1").err.splitlines()[-2].startswith("  many-11")


@pytest.mark.parametrize("encoding", ["ascii", "iso-8859-1"])
def test_a_locale_without_our_letters_gets_them_written_out(home: AHome, encoding: str) -> None:
    """Bars, dots and an agent's words stand as escapes where the locale has none of them; JSON stays the same JSON."""
    home.request("far-1", a_spec(summary="退款 150.00 EUR"))
    env = {**os.environ, "HITL_HOME": str(home.path), "PYTHONIOENCODING": encoding}

    def said(*words: str) -> str:
        done = subprocess.run(
            [str(HITL), *words], capture_output=True, text=True, env=env, check=True, encoding=encoding
        )
        return done.stdout

    assert said("show", "far-1").startswith("\\u9000\\u6b3e 150.00 EUR\n")
    assert json.loads(said("show", "far-1", "-o", "json"))["spec"]["summary"] == "退款 150.00 EUR"
    assert yaml.safe_load(said("show", "far-1", "-o", "yaml"))["spec"]["summary"] == "退款 150.00 EUR"


def test_alone_it_explains_itself(home: AHome) -> None:
    """Without a command: the help on stderr, exit code 2; with --help on stdout, exit code 0."""
    alone = home.process()
    assert (alone.code, alone.out) == (2, "")
    asked = home.process("--help")
    assert asked.code == 0
    assert "Reviewers:" in asked.out
    assert "explain" in alone.err


def test_help_stands_without_loading_any_command() -> None:
    """`hitl --help` imports no command, so one that is broken cannot break it."""
    program = (
        "import sys, hitl_cli.main as m\n"
        "m.run(['--help'])\n"
        "sys.exit(any(name.startswith('hitl_cli.commands.') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=False).returncode == 0


def test_every_command_that_help_names_can_be_loaded() -> None:
    """Each line of the help belongs to a command, and its words are the command's own."""
    context = click.Context(main.cli)
    for name in main.cli.list_commands(context):
        command = main.cli.get_command(context, name)
        assert command is not None
        assert command.name == name
        assert command.help, name


def test_starting_does_not_pay_for_what_is_not_used(home: AHome) -> None:
    """`hitl list` loads neither gRPC nor cryptography, YAML, CEL, nor of rich more than how wide letters are."""
    home.request("one-1")
    program = (
        "import sys, hitl_cli.main as m\n"
        "assert m.run(['list']) == 0\n"
        "heavy = {'grpc', 'cryptography', 'yaml', 'cel_expr_python', 'rich.console', 'rich.text', 'google.protobuf'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    env = {**os.environ, "HITL_HOME": str(home.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    "program",
    [
        "import hitl_cli.main as m; m.run(['--version'])",
        "import hitl_cli.completion as c; print(c.suggestions([], 'sh'))",
    ],
    ids=["--version", "a command's name"],
)
def test_who_asks_nobody_loads_nothing_to_ask_with(program: str) -> None:
    """A version and the name of a command need no cluster, so neither an event loop nor TLS nor YAML."""
    program += "; import sys; print(sorted({'asyncio', 'ssl', 'yaml', 'rich.text', 're2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, last = done.stdout.splitlines()
    assert first
    assert last == "[]"


def test_the_kubectl_plugin_is_always_about_a_cluster(home: AHome) -> None:
    """`kubectl hitl` never looks into a home: without a kubeconfig it says so and how to get one, exit code 1."""
    plugin, env = HITL.with_name("kubectl-hitl"), {"HOME": str(home.path), "HITL_HOME": str(home.path)}
    done = subprocess.run([str(plugin), "list"], capture_output=True, text=True, env=env, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "kubeconfig" in done.stderr


def test_what_is_for_this_machine_is_not_offered_for_a_cluster(home: AHome) -> None:
    """`kubectl hitl dev` names `hitl dev`; its help leaves such commands out; a home is no place on a cluster."""
    plugin = str(HITL.with_name("kubectl-hitl"))
    refused = subprocess.run([plugin, "dev"], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "dev is for this machine, not for a cluster: hitl dev" in refused.stderr
    helped = subprocess.run([plugin, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Usage: kubectl hitl " in helped
    assert " demo " not in helped
    both = subprocess.run([plugin, "list", "--home", str(home.path)], capture_output=True, text=True, check=False)
    assert (both.returncode, both.stdout) == (2, "")
    assert "--home is a place on this machine, not on a cluster" in both.stderr


@pytest.mark.parametrize("command", ["doctor", "unprotected"])
def test_a_cluster_command_names_the_cluster_when_asked_about_a_home(home: AHome, command: str) -> None:
    """`hitl doctor` without --context says how to look at a cluster."""
    done = home.hitl(command)
    assert done.code == 1
    assert f"Next: kubectl hitl {command}    or: hitl {command} --context NAME" in done.err


def test_impersonated_groups_are_not_a_homes(home: AHome) -> None:
    """--as-group belongs to a cluster: in a home it is refused by name."""
    done = home.hitl("list", "--as-group", "managers")
    assert (done.code, done.out) == (2, "")
    assert "--as-group is for a cluster" in done.err


def test_a_reader_that_has_seen_enough_is_no_error(home: AHome) -> None:
    """`hitl check --explain … | head -0`: no traceback on stderr."""
    program = f"{HITL} check --explain HITL104 | true"
    done = subprocess.run(["/bin/sh", "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_commands_complete_in_a_shell() -> None:
    """Bash asks for words that begin with `ap`: approve."""
    env = {**os.environ, "_HITL_COMPLETE": "bash_complete", "COMP_WORDS": "hitl ap", "COMP_CWORD": "1"}
    done = subprocess.run([str(HITL)], capture_output=True, text=True, env=env, check=True)
    assert done.stdout.split() == ["plain,approve"]


def test_the_version_is_that_of_the_ground(home: AHome) -> None:
    """`hitl --version`."""
    from hitl import __version__

    assert home.process("--version").out == f"hitl {__version__}\n"


def test_reviewers_are_added_and_listed(home: AHome) -> None:
    """`dev reviewer add` makes a key for its owner alone; `list` says whose key is here."""
    added = home.process("dev", "reviewer", "add", "ana", "--group", "support-leads", "--group", "oncall")
    assert (added.code, added.out) == (0, "reviewer/ana added\n")
    key = home.path / "people" / "ana.key"
    assert key.stat().st_mode & 0o777 == 0o600
    home.hitl("dev", "reviewer", "add", "bo")
    (home.path / "people" / "bo.key").unlink()
    assert home.hitl("dev", "reviewer", "list").lines == [
        "NAME   KEY         GROUPS",
        "ana    here        support-leads, oncall",
        "bo     elsewhere   -",
    ]
    assert home.hitl("dev", "reviewer", "list", "-o", "name").out == "reviewer/ana\nreviewer/bo\n"


@pytest.mark.parametrize("name", ["../evil", "", "a b", "\u202eana"])
def test_G1_a_reviewer_has_a_plain_name(home: AHome, name: str) -> None:
    """G1: names that could leave the folder or deceive a reader are refused; nothing is written."""
    done = home.hitl("dev", "reviewer", "add", name)
    assert done.code == 1
    assert "\u202e" not in done.err
    assert not (home.path / "reviewers.yaml").exists()


def test_the_same_reviewer_twice_is_refused(home: AHome) -> None:
    """A second key for one name would let two people pass for one."""
    home.people(ana=())
    done = home.hitl("dev", "reviewer", "add", "Ana")
    assert done.code == 1
    assert "ana is there already" in done.err


def test_no_reviewers_yet_is_said_with_the_next_step(home: AHome) -> None:
    """An empty list names the command that adds the first."""
    done = home.hitl("dev", "reviewer", "list")
    assert (done.code, done.out) == (0, "")
    assert "Next: hitl dev reviewer add " in done.err


def test_a_broken_reviewers_file_is_named_by_line(home: AHome) -> None:
    """reviewers.yaml that cannot be read: its line, on every command that needs it."""
    home.request("one-1")
    (home.path / "reviewers.yaml").write_text("reviewers:\n- nme: ana\n")
    done = home.hitl("list", "--as", "ana")
    assert done.code == 1
    assert f"error: {home.path}/reviewers.yaml:2: " in done.err
