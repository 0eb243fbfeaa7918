"""Good orders, one after another, deterministic by seed and start time."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from streaming_app.producer.catalog import (
    CUSTOMERS,
    MENU,
    PAYMENTS,
    QUANTITIES,
    QUANTITY_WEIGHTS,
    STORES,
    STORES_CUMULATIVE,
    intensity,
    item_weights,
    payment_weights,
)


@dataclass(frozen=True)
class Order:
    """One good order; `amount_cents` is quantity x price, in hundredths."""

    order_id: str
    customer_id: str
    store_id: str
    city: str
    item: str
    quantity: int
    amount_cents: int
    payment_method: str
    order_ts: datetime

    @property
    def amount(self) -> str:
        """The amount with two decimals."""
        return f"{self.amount_cents // 100}.{self.amount_cents % 100:02d}"

    @property
    def timestamp(self) -> str:
        """`order_ts` in ISO 8601, UTC, milliseconds."""
        return (
            self.order_ts.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{self.order_ts.microsecond // 1000:03d}Z"
        )

    def fields(self) -> dict[str, Any]:
        """The order as a point of sale sends it: columns of the dataset in its order, amount as a number."""
        return {
            "order_id": self.order_id,
            "customer_id": self.customer_id,
            "store_id": self.store_id,
            "city": self.city,
            "item": self.item,
            "quantity": self.quantity,
            "amount": self.amount_cents / 100,
            "payment_method": self.payment_method,
            "order_ts": self.timestamp,
        }


@dataclass(frozen=True)
class Pace:
    """When orders are placed: every `interval` seconds, or that on average over a day with its peaks."""

    interval: float
    daily_peaks: bool = False

    def gap(self, now: datetime, rng: Random) -> timedelta:
        """Time from the order at `now` to the next one."""
        if not self.daily_peaks:
            return timedelta(seconds=self.interval)
        return timedelta(seconds=rng.expovariate(1.0) * self.interval / intensity(now.astimezone(UTC).hour))


def orders(seed: int, start: datetime, pace: Pace) -> Iterator[tuple[Order, Random]]:
    """Orders without end, each with the random numbers that are left for what is done to it.

    Order i has random numbers of its own, made from seed and i: leaving out or spoiling one does not change the others.
    """
    start = start.astimezone(UTC)
    run = zlib.crc32(f"{seed}/{start.isoformat()}".encode())
    now = start
    index = 0
    while True:
        rng = Random(f"{seed}/{index}")
        yield _order(f"ORD-{start:%Y%m%d}-{run:08x}-{index:07d}", now, rng), rng
        now += pace.gap(now, rng)
        index += 1


def _order(order_id: str, now: datetime, rng: Random) -> Order:
    store = rng.choices(STORES, cum_weights=STORES_CUMULATIVE)[0]
    local_hour = (now.astimezone(UTC).hour + store.city.utc_offset) % 24
    item = rng.choices(MENU, item_weights(local_hour))[0]
    quantity = rng.choices(QUANTITIES, QUANTITY_WEIGHTS)[0]
    return Order(
        order_id=order_id,
        customer_id=f"CUST-{int(rng.random() ** 2 * CUSTOMERS) + 1:06d}",  # squared: few customers come often
        store_id=store.store_id,
        city=store.city.name,
        item=item.name,
        quantity=quantity,
        amount_cents=quantity * item.price,
        payment_method=rng.choices(PAYMENTS, payment_weights(store.city))[0],
        order_ts=now,
    )
