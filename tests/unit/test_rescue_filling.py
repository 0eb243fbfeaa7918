"""How a rescue casts texts: many at once, and in bounded memory."""

from __future__ import annotations

from batch_app.backfill.filling import Values
from streaming_app.schema import Column


def casts(most: int):
    asked: list[set[str]] = []

    def cast(_, texts):
        asked.append(set(texts))
        return {text: int(text) if text.isdigit() else None for text in texts}

    return Values(Column(name="tip", type="int"), cast, most), asked


def test_texts_that_were_collected_are_cast_in_one_go():
    values, asked = casts(1 << 20)
    values.collect(["1", "2"])
    values.collect(["2", "x"])
    assert values.of({"1"})["1"] == 1
    assert dict(values.of({"2", "x"})) == {"1": 1, "2": 2, "x": None}
    assert asked == [{"1", "2", "x"}]


def test_beyond_the_bound_texts_are_not_held_but_cast_when_they_are_asked_for():
    values, asked = casts(1000)
    values.collect(str(number) for number in range(10_000))
    assert values.full
    for begin in range(0, 100, 10):
        wanted = {str(number) for number in range(begin, begin + 10)}
        found = values.of(wanted)
        assert {text: found[text] for text in wanted} == {text: int(text) for text in wanted}
    assert max(map(len, asked)) <= 10
    assert len(values.of({"1"})) < 10


def test_texts_of_a_text_column_are_not_collected():
    values = Values(Column(name="tip", type="string"), lambda _, texts: {text: text for text in texts}, 1)
    values.collect(["a", "b"])
    assert not values.full
    assert values.of({"a"}) == {"a": "a"}
