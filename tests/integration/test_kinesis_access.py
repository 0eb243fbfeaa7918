"""As whom the stream is read: the default chain, or a role that is assumed and renewed; on moto's STS and Kinesis."""

from __future__ import annotations

import re
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

from streaming_app.errors import SourceError
from streaming_app.sources.kinesis.access import Endpoint, Role
from streaming_app.sources.kinesis.client import KinesisClient
from streaming_app.sources.kinesis.failures import TemporaryError
from tests.kinesis_reading import STREAM, Query, context, credentials
from tests.kinesis_server import kinesis_server
from tests.moto_server import REGION

ROLE = "arn:aws:iam::123456789012:role/reads-orders"
ARN = f"arn:aws:kinesis:{REGION}:123456789012:stream/{STREAM}"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch):
    credentials(monkeypatch)


@pytest.fixture(scope="module")
def kinesis():
    with kinesis_server() as running:
        running.create(STREAM, shards=2)
        yield running


def signed_by(client: KinesisClient) -> list[str]:
    """Access keys of the requests from now on."""
    keys: list[str] = []

    def note(request, **_event):
        keys.append(re.search(r"Credential=(\w+)/", request.headers["Authorization"].decode())[1])

    client._boto.meta.events.register("before-send.kinesis.*", note)
    return keys


def client_of(kinesis, stream=STREAM, **role) -> KinesisClient:
    as_role = Role(ROLE, sts_endpoint_url=kinesis.url, **role)
    return KinesisClient(Endpoint(stream, REGION, kinesis.url, as_role))


def test_without_a_role_the_default_chain_signs(kinesis):
    client = KinesisClient(Endpoint(STREAM, REGION, kinesis.url))
    keys = signed_by(client)
    client.list_shards()
    assert keys == ["testing"]


def test_with_a_role_its_own_temporary_credentials_sign(kinesis):
    client = client_of(kinesis, external_id="orders-2026", session_name="nightly")
    keys = signed_by(client)
    client.list_shards()
    client.describe()
    assert keys[0].startswith("ASIA")
    assert len(set(keys)) == 1  # assumed once, not for each call


def test_credentials_are_renewed_before_they_expire(kinesis):
    client = client_of(kinesis)
    keys = signed_by(client)
    client.list_shards()
    client._boto._request_signer._credentials._expiry_time = datetime.now(UTC) + timedelta(seconds=60)
    client.list_shards()
    assert len(set(keys)) == 2


def test_a_role_that_cannot_be_assumed_is_an_error_that_says_what_to_check(kinesis):
    kinesis.aws.fail("POST", "", status=403, code="AccessDenied", times=1)
    with pytest.raises(SourceError, match=f"role {ROLE} cannot be assumed: .*trust policy, external id"):
        client_of(kinesis).list_shards()
    kinesis.aws.heal()


def test_external_id_and_session_name_reach_sts(kinesis):
    asked: list[bytes] = []

    class Sts(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Sts) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        role = Role(ROLE, "orders-2026", "nightly", f"http://127.0.0.1:{server.server_port}")
        with pytest.raises(TemporaryError, match="STS cannot be reached"):  # what answered so is no STS
            KinesisClient(Endpoint(STREAM, REGION, kinesis.url, role)).list_shards()
        server.shutdown()
    sent = parse_qs(asked[0].decode())
    assert (sent["ExternalId"], sent["RoleSessionName"], sent["RoleArn"]) == (["orders-2026"], ["nightly"], [ROLE])


@pytest.mark.parametrize("failure", [{"status": 503, "code": "ServiceUnavailable"}, {"status": 0}])
def test_sts_that_fails_for_a_moment_counts_against_the_throttling_budget(kinesis, failure):
    kinesis.aws.fail("POST", "", times=3, **failure)
    with pytest.raises(TemporaryError):
        client_of(kinesis).list_shards()
    kinesis.aws.heal()


def test_no_secret_is_shown(kinesis):
    client = client_of(kinesis)
    client.list_shards()
    secret = client._boto._request_signer._credentials.get_frozen_credentials().secret_key
    assert secret not in repr(client.__dict__) + repr(Endpoint(STREAM, role=Role(ROLE)))


def test_a_stream_named_by_its_arn_is_read_as_by_its_name(kinesis, tmp_path):
    sent = kinesis.put(STREAM, [b"event %d" % number for number in range(20)])
    query = Query(lambda: context(kinesis.url, tmp_path, stream_name=ARN, region=""))
    assert sorted(query.run().rows) == sorted(sent)
    assert query.make().options.endpoint.region == REGION


@pytest.mark.parametrize(
    ("options", "host"),
    [
        ({}, "kinesis.eu-west-1.amazonaws.com"),
        ({"use_fips": True}, "kinesis-fips.us-east-1.amazonaws.com"),
        ({"use_dualstack": True}, "kinesis.eu-west-1.api.aws"),
        ({"endpoint_url": "https://vpce-1.kinesis.eu-west-1.vpce.amazonaws.com"}, "vpce-1.kinesis.eu-west-1.vpce"),
    ],
)
def test_the_address_follows_the_options(options, host):
    region = "us-east-1" if options.get("use_fips") else "eu-west-1"
    assert host in KinesisClient(Endpoint(STREAM, region, **options))._boto.meta.endpoint_url
