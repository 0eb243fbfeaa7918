"""The queue of S3's event notifications: messages in, receipts out. What can never work is a ConfigError, the rest a SourceError."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from streaming_app.errors import ConfigError, SourceError
from streaming_app.storage import StorageOptions

VISIBILITY: Final = 300  # seconds that a received message is nobody else's, unless that is extended
_MOST: Final = 10  # messages of one request, SQS's limit
_REGION: Final = re.compile(r"(?:^|\.)sqs(?:-fips)?\.([a-z0-9-]+)\.|^([a-z0-9-]+)\.queue\.amazonaws\.com")
_NEEDED: Final = "sqs:ReceiveMessage, sqs:DeleteMessage and sqs:ChangeMessageVisibility on it, and kms:Decrypt where it is encrypted with a key"
_NEVER: Final = {
    "QueueDoesNotExist": "there is no such queue",
    "AWS.SimpleQueueService.NonExistentQueue": "there is no such queue",
    "InvalidAddress": "that is no queue's address",
    "AccessDenied": f"access denied; the role needs {_NEEDED}",
    "AccessDeniedException": f"access denied; the role needs {_NEEDED}",
    "KMS.AccessDeniedException": f"access denied to its key; the role needs {_NEEDED}",
    "InvalidClientTokenId": "AWS does not know this access key; check the credentials that boto3 finds",
    "UnrecognizedClientException": "AWS does not know this access key; check the credentials that boto3 finds",
    "SignatureDoesNotMatch": "the secret key does not fit the access key; check the credentials that boto3 finds",
}


@dataclass(frozen=True)
class Message:
    """One message as it was received this time; `id` stays when it comes again, `receipt` does not."""

    id: str
    receipt: str
    body: str


class Queue(Protocol):
    """What is needed of a queue."""

    def receive(self, wait: int) -> list[Message]:
        """Some messages, waiting for the first so many seconds; they are hidden from others for `VISIBILITY`."""
        ...

    def delete(self, receipts: Sequence[str]) -> None:
        """Be done with messages; one that cannot be deleted now comes again."""
        ...

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        """Hide messages for so long from now on, 0 gives them back at once; one that is gone is left alone."""
        ...


class SqsQueue:
    """A standard queue by its URL, whose host is also where it is asked: AWS, a VPC endpoint, an emulator. Safe for threads."""

    def __init__(self, url: str, storage: StorageOptions) -> None:
        self._url = url
        parts = urlsplit(url)
        found = _REGION.search(parts.hostname or "")
        region = (found[1] or found[2]) if found else storage.region
        with self._explained():
            self._client = boto3.session.Session().client(
                "sqs",
                endpoint_url=f"{parts.scheme}://{parts.netloc}",
                region_name=region or None,
                config=Config(
                    retries={"mode": "standard", "total_max_attempts": 4}, connect_timeout=10, read_timeout=40
                ),
            )

    def receive(self, wait: int) -> list[Message]:
        """See Queue. Raises ConfigError and SourceError."""
        with self._explained():
            answer = self._client.receive_message(
                QueueUrl=self._url, MaxNumberOfMessages=_MOST, WaitTimeSeconds=wait, VisibilityTimeout=VISIBILITY
            )
        found = answer.get("Messages", ())
        return [Message(item["MessageId"], item["ReceiptHandle"], item["Body"]) for item in found]

    def delete(self, receipts: Sequence[str]) -> None:
        """See Queue. Raises ConfigError and SourceError."""
        for entries in _entries(receipts):
            with self._explained():
                self._client.delete_message_batch(QueueUrl=self._url, Entries=entries)

    def hide(self, receipts: Sequence[str], seconds: int) -> None:
        """See Queue. Raises ConfigError and SourceError."""
        for entries in _entries(receipts, VisibilityTimeout=seconds):
            with self._explained():
                self._client.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        place = f"sources.csv.queue_url {self._url}"
        try:
            yield
        except ClientError as error:
            code = str(error.response.get("Error", {}).get("Code", ""))
            if code in _NEVER:
                raise ConfigError(f"{place}: {_NEVER[code]} ({code})") from error
            raise SourceError(f"{place}: {error}") from error
        except (BotoCoreError, ValueError) as error:
            raise SourceError(f"{place}: {error}") from error


def _entries(receipts: Sequence[str], **more: Any) -> Iterator[Any]:
    for first in range(0, len(receipts), _MOST):
        some = receipts[first : first + _MOST]
        yield [{"Id": str(number), "ReceiptHandle": receipt, **more} for number, receipt in enumerate(some)]
