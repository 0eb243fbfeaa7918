"""The restaurants, their menu and their customers' habits, as plain data.

Prices are in thousands of rupiah, as menus in these cities print them. Weights are relative to one another.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from typing import Final


@dataclass(frozen=True)
class City:
    """A city: its weight in orders, its offset from UTC in hours, and how many restaurants it has."""

    name: str
    weight: int
    utc_offset: int
    stores: int


@dataclass(frozen=True)
class Store:
    """One restaurant; `store_id` is the partition key of its events."""

    store_id: str
    city: City


@dataclass(frozen=True)
class Item:
    """One line of the menu: price in hundredths, and how well it sells in the morning, at noon, and later."""

    name: str
    price: int
    morning: int
    noon: int
    evening: int


CITIES: Final = (
    City("Jakarta", 30, 7, 10),
    City("Bandung", 14, 7, 6),
    City("Surabaya", 18, 7, 7),
    City("Medan", 10, 7, 5),
    City("Semarang", 8, 7, 4),
    City("Makassar", 7, 8, 4),
    City("Denpasar", 7, 8, 4),
    City("Yogyakarta", 6, 7, 4),
)

MENU: Final = (
    Item("Americano", 2800, 10, 6, 4),
    Item("Latte", 3600, 12, 7, 7),
    Item("Cappuccino", 3500, 9, 4, 4),
    Item("Espresso", 2200, 6, 4, 2),
    Item("Mocha", 3950, 3, 3, 5),
    Item("Matcha Latte", 4100, 3, 5, 8),
    Item("Cold Brew", 3850, 4, 7, 7),
    Item("Flat White", 3750, 6, 3, 3),
    Item("Teh Tarik", 1850, 5, 6, 6),
    Item("Croissant", 2450, 11, 2, 3),
    Item("Bagel", 2900, 8, 3, 2),
    Item("Banana Bread", 2250, 6, 2, 4),
    Item("Kaya Toast", 1950, 9, 2, 2),
    Item("Nasi Goreng", 4275, 2, 14, 9),
    Item("Ayam Geprek", 4650, 1, 13, 9),
    Item("Beef Burger", 5950, 1, 9, 10),
    Item("French Fries", 2375, 1, 8, 10),
    Item("Chicken Wings", 4425, 0, 5, 9),
    Item("Caesar Salad", 4850, 1, 7, 3),
    Item("Family Bucket", 18900, 0, 3, 5),
)

# Share of payment methods in the largest cities and elsewhere.
PAYMENTS: Final = ("qris", "e_wallet", "credit_card", "debit_card", "cash")
PAYMENTS_LARGE_CITY: Final = (38, 24, 16, 10, 12)
PAYMENTS_ELSEWHERE: Final = (30, 15, 6, 13, 36)
LARGE_CITY_WEIGHT: Final = 14

QUANTITIES: Final = (1, 2, 3, 4, 5, 6)
QUANTITY_WEIGHTS: Final = (62, 23, 8, 4, 2, 1)

CUSTOMERS: Final = 20_000

# Orders in each local hour of a day, relative to one another: breakfast, lunch, after work, nearly nothing at night.
HOURLY_ORDERS: Final = (1, 1, 1, 1, 2, 5, 18, 42, 48, 30, 20, 38, 66, 58, 28, 20, 28, 52, 58, 44, 28, 16, 8, 3)
PACE_UTC_OFFSET: Final = 7  # the clock that most of the restaurants run on


def all_stores() -> tuple[Store, ...]:
    """Every restaurant, numbered through the cities: STORE-001 is in the first one."""
    cities = [city for city in CITIES for _ in range(city.stores)]
    return tuple(Store(f"STORE-{number:03d}", city) for number, city in enumerate(cities, start=1))


STORES: Final = all_stores()
STORES_CUMULATIVE: Final = tuple(accumulate(store.city.weight / store.city.stores for store in STORES))


def intensity(utc_hour: int) -> float:
    """Orders in this hour relative to the day's mean hour (the mean over a day is 1)."""
    return HOURLY_ORDERS[(utc_hour + PACE_UTC_OFFSET) % 24] * 24 / sum(HOURLY_ORDERS)


def item_weights(local_hour: int) -> tuple[int, ...]:
    """How well each item of the menu sells at this hour, in the menu's order."""
    if local_hour < 11:  # noqa: PLR2004 - hours of the day are clearer than names for them
        return tuple(item.morning for item in MENU)
    return tuple(item.noon if local_hour < 15 else item.evening for item in MENU)  # noqa: PLR2004


def payment_weights(city: City) -> tuple[int, ...]:
    """How customers of a city pay, in the order of `PAYMENTS`."""
    return PAYMENTS_LARGE_CITY if city.weight >= LARGE_CITY_WEIGHT else PAYMENTS_ELSEWHERE
