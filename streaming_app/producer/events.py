"""Events of a point of sale: good ones, good ones in unusual dress, and bad ones of every named kind."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from random import Random
from typing import Any, Final

from streaming_app.errors import ConfigError
from streaming_app.producer.orders import Order, Pace, orders
from streaming_app.schema import Stage

PLAIN: Final = "plain"


class Verdict(StrEnum):
    """What should become of an event or row."""

    CLEAN = "clean"
    DEAD = "dead"


@dataclass(frozen=True)
class EventKind:
    """How an order is turned into bytes, and the stage that should reject it (None: it is clean)."""

    encode: Callable[[Order, Random], bytes]
    rejected_at: Stage | None = None

    @property
    def verdict(self) -> Verdict:
        """What should become of events of this kind."""
        return Verdict.DEAD if self.rejected_at else Verdict.CLEAN


@dataclass(frozen=True)
class Event:
    """One record for Kinesis: exact bytes, partition key (the store), its kind, and what should become of it.

    `order` is the good order that it was made from.
    """

    payload: bytes
    partition_key: str
    kind: str
    verdict: Verdict
    order: Order


def _json(value: Any, encoding: str = "utf-8") -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode(encoding)


def _with(**changed: Any) -> Callable[[Order, Random], bytes]:
    return lambda order, _: _json(order.fields() | changed)


def _choice(field: str, values: Sequence[Any]) -> Callable[[Order, Random], bytes]:
    return lambda order, rng: _json(order.fields() | {field: rng.choice(values)})


def _plain(order: Order, _: Random) -> bytes:
    return _json(order.fields())


def _negative_amount(order: Order, _: Random) -> bytes:
    return _json(order.fields() | {"amount": -order.amount_cents / 100})


def _too_many_decimals(order: Order, rng: Random) -> bytes:
    return _json(order.fields() | {"amount": f"{order.amount}{rng.randint(1, 9)}"})


def _cut_off(order: Order, rng: Random) -> bytes:
    whole = _plain(order, rng)
    return whole[: rng.randint(len(whole) // 2, len(whole) - 1)]


def _json_array(order: Order, _: Random) -> bytes:
    return _json(list(order.fields().values()))


def _latin_1(order: Order, _: Random) -> bytes:
    return _json(order.fields() | {"item": "Café au lait"}, "latin-1")


def _amount_as_string(order: Order, _: Random) -> bytes:
    return _json(order.fields() | {"amount": order.amount, "quantity": str(order.quantity)})


def _epoch_millis(order: Order, _: Random) -> bytes:
    return _json(
        order.fields() | {"order_ts": int(order.order_ts.timestamp()) * 1000 + order.order_ts.microsecond // 1000}
    )


UNKNOWN_CITIES: Final = ("Atlantis", "Gotham", "El Dorado", "unknown")
BAD_TIMESTAMPS: Final = ("not-a-date", "2026-13-45T99:99:99Z", "", "yesterday")
BAD_AMOUNTS: Final = ("abc", "12.3.4", "N/A", "--5")
UNKNOWN_PAYMENTS: Final = ("barter", "IOU", "seashells")

EVENT_KINDS: Final[dict[str, EventKind]] = {
    PLAIN: EventKind(_plain),
    "extra_field": EventKind(_with(loyalty_points=120, table={"number": 7})),
    "number_as_string": EventKind(_amount_as_string),
    "epoch_millis": EventKind(_epoch_millis),
    "null_order_id": EventKind(_with(order_id=None), Stage.RULE),
    "amount_text": EventKind(_choice("amount", BAD_AMOUNTS), Stage.CAST),
    "too_many_decimals": EventKind(_too_many_decimals, Stage.CAST),
    "negative_amount": EventKind(_negative_amount, Stage.RULE),
    "quantity_zero": EventKind(_with(quantity=0), Stage.RULE),
    "unknown_city": EventKind(_choice("city", UNKNOWN_CITIES), Stage.RULE),
    "unknown_payment_method": EventKind(_choice("payment_method", UNKNOWN_PAYMENTS), Stage.RULE),
    "bad_timestamp": EventKind(_choice("order_ts", BAD_TIMESTAMPS), Stage.CAST),
    "not_json": EventKind(_cut_off, Stage.DECODE),
    "not_an_object": EventKind(_json_array, Stage.DECODE),
    "not_utf8": EventKind(_latin_1, Stage.DECODE),
}
DEAD_KINDS: Final = tuple(name for name, kind in EVENT_KINDS.items() if kind.verdict is Verdict.DEAD)
VARIANT_KINDS: Final = tuple(
    name for name, kind in EVENT_KINDS.items() if kind.verdict is Verdict.CLEAN and name != PLAIN
)


@dataclass(frozen=True)
class Mix:
    """Shares of events: `bad` of all are bad ones, `variants` of the good ones are in unusual dress.

    `bad_kinds` are drawn from evenly. Raises ConfigError for a share outside 0..1 or an unknown kind.
    """

    bad: float = 0.0
    variants: float = 0.0
    bad_kinds: tuple[str, ...] = DEAD_KINDS

    def __post_init__(self) -> None:
        for name, share in (("bad", self.bad), ("variants", self.variants)):
            if not 0 <= share <= 1:
                raise ConfigError(f"the share of {name} events is {share}; give a number from 0 to 1")
        unknown = sorted(set(self.bad_kinds) - set(DEAD_KINDS))
        if unknown or not self.bad_kinds:
            raise ConfigError(f"unknown kinds of bad events: {', '.join(unknown)}; known are {', '.join(DEAD_KINDS)}")

    def kind(self, rng: Random) -> str:
        """The kind of the next event. Always draws the same number of random numbers."""
        bad, variant, which = rng.random(), rng.random(), rng.random()
        if bad < self.bad:
            return self.bad_kinds[int(which * len(self.bad_kinds))]
        return VARIANT_KINDS[int(which * len(VARIANT_KINDS))] if variant < self.variants else PLAIN


def make_event(order: Order, kind: str, rng: Random) -> Event:
    """The order as an event of a named kind of `EVENT_KINDS`."""
    chosen = EVENT_KINDS[kind]
    return Event(chosen.encode(order, rng), order.store_id, kind, chosen.verdict, order)


def events(  # noqa: D417 - the sentence above the arguments explains mix
    seed: int,
    *,
    start: datetime,
    count: int | None = None,
    pace: Pace = Pace(0.5),  # noqa: B008 - frozen
    mix: Mix = Mix(),
) -> Iterator[Event]:
    """Events in the order they happen; the same arguments give the same bytes.

    Args:
        seed: Any integer.
        start: Time of the first order; aware.
        count: How many; None goes on for ever.
        pace: Time between two orders.
    """
    made = (make_event(order, mix.kind(rng), rng) for order, rng in orders(seed, start, pace))
    return islice(made, count)
