"""What the producer makes: orders, events of every kind, sample files."""

import csv
import io
import json
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from random import Random

import pytest

from streaming_app.errors import ConfigError
from streaming_app.producer import CSV_KINDS, EVENT_KINDS, Verdict, events, sample_rows, write_samples
from streaming_app.producer.catalog import CITIES, HOURLY_ORDERS, MENU, PAYMENTS, STORES, intensity
from streaming_app.producer.events import DEAD_KINDS, PLAIN, VARIANT_KINDS, Mix, make_event
from streaming_app.producer.orders import Pace
from streaming_app.producer.samples import BAD_FILE, GOOD_FILE, SAMPLE_START

START = datetime(2026, 3, 1, 5, 0, tzinfo=UTC)
EVERYTHING = Mix(bad=0.5, variants=0.5)


def take(count, seed=1, **options):
    return list(events(seed, start=START, count=count, **options))


def test_same_seed_and_start_give_the_same_bytes():
    assert take(300, mix=EVERYTHING) == take(300, mix=EVERYTHING)


def test_another_seed_gives_other_orders_and_other_order_ids():
    first, second = take(100), take(100, seed=2)
    assert not {event.order.order_id for event in first} & {event.order.order_id for event in second}
    assert [event.order.item for event in first] != [event.order.item for event in second]


def test_the_same_instant_in_another_time_zone_gives_the_same_bytes():
    jakarta = START.astimezone(timezone(timedelta(hours=7)))
    assert [event.payload for event in events(1, start=jakarta, count=50)] == [event.payload for event in take(50)]


def test_spoiling_some_events_leaves_the_others_as_they_were():
    good, mixed = take(300), take(300, mix=Mix(bad=0.3))
    same = [(before, after) for before, after in zip(good, mixed, strict=True) if after.kind == PLAIN]
    assert 150 < len(same) < 270
    assert all(before == after for before, after in same)


def test_good_orders_cost_what_the_menu_says_and_come_from_a_store_of_their_city():
    prices = {item.name: item.price for item in MENU}
    cities = {store.store_id: store.city.name for store in STORES}
    for event in take(500):
        order = json.loads(event.payload)
        assert round(order["amount"] * 100) == order["quantity"] * prices[order["item"]]
        assert cities[order["store_id"]] == order["city"]
        assert order["payment_method"] in PAYMENTS
        assert event.partition_key == order["store_id"]


def test_every_city_has_several_stores_and_gets_orders():
    assert {event.order.city for event in take(500)} == {city.name for city in CITIES}
    assert all(city.stores > 1 for city in CITIES)


def test_a_steady_pace_places_one_order_every_interval():
    times = [event.order.order_ts for event in take(5, pace=Pace(0.5))]
    assert times == [START + timedelta(seconds=0.5 * number) for number in range(5)]


def test_daily_peaks_crowd_orders_into_breakfast_lunch_and_evening():
    a_week = take(7 * 400, pace=Pace(86400 / 400, daily_peaks=True))
    assert timedelta(days=6.3) < a_week[-1].order.order_ts - START < timedelta(days=7.7)
    by_hour = Counter((event.order.order_ts.hour + 7) % 24 for event in a_week)
    assert by_hour[12] > 2 * by_hour[15]
    assert by_hour[18] > 2 * by_hour[15]
    assert by_hour[8] > 1.5 * by_hour[10] > 10 * by_hour[3]


def test_the_mean_intensity_of_a_day_is_one():
    assert len(HOURLY_ORDERS) == 24
    assert sum(intensity(hour) for hour in range(24)) == pytest.approx(24)


def test_people_have_breakfast_in_the_morning():
    noon = [event.order.item for event in take(400, seed=3)]
    morning = events(3, start=START - timedelta(hours=5), count=400)
    assert Counter(event.order.item for event in morning)["Croissant"] > 2 * Counter(noon)["Croissant"]


@pytest.mark.parametrize("kind", sorted(EVENT_KINDS))
def test_an_event_says_what_should_become_of_it(kind):
    order = take(1)[0].order
    event = make_event(order, kind, Random(1))
    expected = Verdict.DEAD if EVENT_KINDS[kind].rejected_at else Verdict.CLEAN
    assert (event.kind, event.verdict) == (kind, expected)
    assert (kind == PLAIN) == (event.payload == take(1)[0].payload)


def payload_of(kind):
    return next(event.payload for event in take(500, mix=EVERYTHING) if event.kind == kind)


def test_each_bad_kind_is_bad_in_the_way_it_says():
    assert json.loads(payload_of("null_order_id"))["order_id"] is None
    assert json.loads(payload_of("negative_amount"))["amount"] < 0
    assert json.loads(payload_of("quantity_zero"))["quantity"] == 0
    assert json.loads(payload_of("unknown_city"))["city"] not in {city.name for city in CITIES}
    assert json.loads(payload_of("unknown_payment_method"))["payment_method"] not in PAYMENTS
    assert len(json.loads(payload_of("too_many_decimals"))["amount"].partition(".")[2]) == 3
    assert isinstance(json.loads(payload_of("not_an_object")), list)
    with pytest.raises(ValueError, match="could not convert"):
        float(json.loads(payload_of("amount_text"))["amount"])
    with pytest.raises(ValueError, match=r"isoformat|month"):
        datetime.fromisoformat(json.loads(payload_of("bad_timestamp"))["order_ts"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(payload_of("not_json"))
    with pytest.raises(UnicodeDecodeError):
        payload_of("not_utf8").decode()


def test_each_unusual_good_kind_carries_the_whole_order():
    for kind in VARIANT_KINDS:
        event = next(event for event in take(500, mix=EVERYTHING) if event.kind == kind)
        order = json.loads(event.payload)
        assert round(float(order["amount"]) * 100) == event.order.amount_cents
        assert order["order_id"] == event.order.order_id
    assert "loyalty_points" in json.loads(payload_of("extra_field"))
    assert datetime.fromtimestamp(json.loads(payload_of("epoch_millis"))["order_ts"] / 1000, UTC).year == 2026


def test_the_mix_keeps_its_shares_and_uses_every_kind():
    kinds = Counter(event.kind for event in take(4000, mix=Mix(bad=0.25, variants=0.2)))
    assert set(kinds) == set(EVENT_KINDS)
    assert sum(kinds[kind] for kind in DEAD_KINDS) == pytest.approx(1000, rel=0.12)
    assert sum(kinds[kind] for kind in VARIANT_KINDS) == pytest.approx(600, rel=0.15)


def test_no_bad_event_comes_unasked():
    assert {event.kind for event in take(500)} == {PLAIN}


@pytest.mark.parametrize(
    "mix", [{"bad": 1.1}, {"bad": -0.1}, {"variants": 2}, {"bad_kinds": ("nope",)}, {"bad_kinds": ()}]
)
def test_a_mix_that_cannot_be_is_refused_with_what_to_do(mix):
    with pytest.raises(ConfigError, match=r"give a number|known are"):
        Mix(**mix)


def test_sample_files_have_the_same_bytes_for_the_same_seed(tmp_path):
    first, second = write_samples(tmp_path / "a", 5), write_samples(tmp_path / "b", 5)
    other = write_samples(tmp_path / "c", 6)
    for name in (GOOD_FILE, BAD_FILE):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert (tmp_path / "a" / name).read_bytes() != (tmp_path / "c" / name).read_bytes()
    assert first.bad_file_by_kind == second.bad_file_by_kind == other.bad_file_by_kind


def test_the_good_sample_file_is_plain_csv_of_good_orders(tmp_path):
    report = write_samples(tmp_path, good_rows=50)
    rows = list(csv.DictReader(report.good_file.open(encoding="utf-8", newline="")))
    assert len(rows) == report.good_rows == 50
    assert all(None not in row and None not in row.values() for row in rows)
    assert all(float(row["amount"]) > 0 and row["order_id"] for row in rows)
    assert datetime.fromisoformat(rows[0]["order_ts"]) == SAMPLE_START


def test_the_bad_sample_file_holds_every_kind_and_counts_them(tmp_path):
    report = write_samples(tmp_path)
    assert set(report.bad_file_by_kind) == set(CSV_KINDS)
    assert report.bad_file_clean + report.bad_file_dead == sum(report.bad_file_by_kind.values())
    rows = list(csv.reader(report.bad_file.open(encoding="latin-1", newline="")))
    assert len(rows) - 1 == report.bad_file_clean + report.bad_file_dead
    assert Counter(len(row) for row in rows) == {
        9: len(rows) - report.bad_file_by_kind["too_few_fields"] - report.bad_file_by_kind["too_many_fields"],
        7: report.bad_file_by_kind["too_few_fields"],
        10: report.bad_file_by_kind["too_many_fields"],
    }
    assert sum("\n" in row[4] for row in rows) == report.bad_file_by_kind["quoted_newline"]


def test_good_rows_in_unusual_dress_read_back_as_they_were():
    good = [row for row in sample_rows(1, 200, faults=True) if row.verdict is Verdict.CLEAN]
    text = "\n".join(row.raw.decode() for row in good)
    read_back = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert len(read_back) == len(good)
    for fields, row in zip(read_back, good, strict=True):
        assert fields[0] == row.order.order_id
        assert fields[4].startswith(row.order.item)
        assert (fields[4] == row.order.item) == (row.kind == PLAIN)


def test_the_two_sample_files_share_no_order_id(tmp_path):
    report = write_samples(tmp_path)
    ids = [
        {row[0] for row in csv.reader(path.open(encoding="latin-1", newline="")) if row[0]}
        for path in (report.good_file, report.bad_file)
    ]
    assert ids[0] & ids[1] == {"order_id"}


def test_a_folder_that_cannot_be_written_is_reported_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot write sample files"):
        write_samples(tmp_path / "file")
