"""`hitl demo`: seventeen scenes on real processes, a real database and real files; then what ran, counted."""

import json
import shlex
import shutil
import sys
import tempfile
import termios
import time
from collections import Counter
from pathlib import Path

import click

from hitl.errors import HitlError
from hitl_cli.demo.stage import Stage
from hitl_cli.demo.story import Choice, Story
from hitl_cli.demo.timeline import Timeline
from hitl_cli.demo.world import World
from hitl_cli.lines import wrapped
from hitl_cli.render import Screen
from hitl_cli.session import Session


@click.command("demo")
@click.option(
    "--auto", is_flag=True, help="Let the demo decide also where a person could (off a terminal it always does)."
)
@click.option("--keep", is_flag=True, help="Keep the scratch folder, to look around in it afterwards.")
@click.pass_obj
def command(session: Session, *, auto: bool, keep: bool) -> None:
    """See the whole product work on this machine: an agent, a gate, two people, and every kind of answer."""
    screen = session.screen
    # Sockets have room for about a hundred characters of path, so the system's own temporary folder may be too long.
    folder = Path(tempfile.mkdtemp(prefix="hitl-demo-", dir="/tmp"))
    stage, world = Stage(folder), World(folder / "world")
    interactive = screen.is_interactive and not auto
    timeline = Timeline(screen.data, time.monotonic, interactive=interactive)
    try:
        world.build()
        screen.data(f"Starting a control plane, a sidecar and an agent in {folder} …")
        stage.lay()
        stage.start_hub()
        stage.start_sidecar()
        stage.start_agent()
        story = Story(stage, world, timeline, _Decider(stage, timeline, screen, interactive=interactive))
        story.play()
        _close(screen, stage, world, story)
    except HitlError as error:
        keep = True
        for name in ("hub", "sidecar", "agent"):
            screen.error(f"--- the {name} said:", *stage.log_of(name).splitlines()[-8:])
        raise HitlError(f"{error}\nEverything it left is in {folder}") from error
    finally:
        stage.close()
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


class _Decider:
    """Decisions: typed by a person where one sits at the terminal, else the demo's own. Both run the real command."""

    def __init__(self, stage: Stage, timeline: Timeline, screen: Screen, *, interactive: bool) -> None:
        self.stage = stage
        self.timeline = timeline
        self.screen = screen
        self.interactive = interactive

    def __call__(self, name: str, choice: Choice) -> None:
        words = (choice.verb, name, "--as", choice.reviewer, *choice.flags)
        if self.interactive:
            words = self._asked(name, words)
        done = self.stage.hitl(*words)
        self.timeline.command(done, words[0], choice.reviewer)
        if not self.interactive and done.returncode != choice.exits:
            raise HitlError(f"hitl {' '.join(words)} ended with {done.returncode}, not {choice.exits}: {done.stderr}")

    def _asked(self, name: str, words: tuple[str, ...]) -> tuple[str, ...]:
        person = words[words.index("--as") + 1]
        self.screen.data(*self.stage.hitl("show", name).stdout.splitlines())
        while True:
            self.screen.talk(f"You are {person}. Return: {shlex.join(['hitl', *words])}")
            said = self._answer("a and Return: approve   d and Return: deny   > ")
            match said.lower():
                case "":
                    return words
                case "a":
                    return ("approve", name, "--as", person)
                case "d":
                    reason = self._answer("Why? The agent reads this. > ") or "no reason given, please ask"
                    return ("deny", name, "--as", person, "--reason", reason)
                case _:
                    self.screen.talk("Please answer with Return, a and Return, or d and Return.")

    def _answer(self, question: str) -> str:
        # What was typed while nobody asked was meant for another question, or for none.
        termios.tcflush(sys.stdin, termios.TCIFLUSH)
        return self.screen.ask(question).strip()


def _close(screen: Screen, stage: Stage, world: World, story: Story) -> None:
    ran = [json.dumps(execution["arguments"]) for execution in world.ran()]
    screen.data("", "WHAT RAN, AS THE WORLD RECORDED IT")
    screen.data(*(f"  {each['tool']:<24} {arguments}" for each, arguments in zip(world.ran(), ran, strict=True)))
    answers = ", ".join(f"{count} {outcome}" for outcome, count in sorted(story.outcomes.items()))
    twice = sum(count > 1 for count in Counter(ran).values())
    screen.data("", *wrapped(f"{sum(story.outcomes.values())} answers: {answers}", screen.width))
    screen.data(f"{len(ran)} executions; the same call twice: {twice}")
    screen.data("", "METRICS THAT MOVED")
    moved = ((name, count) for name, count in sorted(stage.counters().items()) if count)
    screen.data(*(f"  {count:>3}  {name}" for name, count in moved))
    screen.data("", "AUDIT LOG (hitl audit verify)")
    verified = stage.hitl("audit", "verify", str(stage.folder / "state"))
    screen.data(*(f"  {each}" for each in (verified.stdout + verified.stderr).splitlines()))
    if verified.returncode:
        raise HitlError("the audit log does not verify")
    program = Path(sys.executable).parent / "hitl"
    screen.data(
        "",
        "WHAT TO TRY NEXT",
        f"  {program} init my-policies     a first policy of your own",
        f"  {program} dev -f my-policies   control plane and sidecar, until Ctrl-C",
        f"  {program} demo                 at a terminal, you decide",
        "  docs/policy.md                 what a policy can say",
    )
