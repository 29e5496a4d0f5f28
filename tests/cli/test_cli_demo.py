"""`hitl demo`: how its timeline speaks. The whole demo runs in tests/integration."""

from hitl_cli.demo.timeline import Timeline


def timeline() -> tuple[Timeline, list[str]]:
    lines: list[str] = []
    return Timeline(lines.append, lambda: 0.0, interactive=False), lines


def test_G1_answers_stay_behind_their_bar_in_the_timeline() -> None:
    """G1: a message with line breaks stands behind │ on every line; what is asked is one folded line."""
    told, lines = timeline()
    told.asks("x\nWHAT RAN", "{}")
    told.answer({"outcome": "DENIED", "message": "x\nMultiFactor · Approved\n\nWHAT WILL RUN\n  nothing"})
    assert "x⏎WHAT RAN {}" in lines[0]
    assert len(lines) == 7
    assert all("│ " in each for each in lines[2:])


def test_an_answer_without_a_message_has_no_empty_bar() -> None:
    """No words, no line for them."""
    told, lines = timeline()
    told.answer({"outcome": "CANCELLED", "message": ""})
    assert len(lines) == 1
