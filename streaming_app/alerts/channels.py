"""Where alerts go: Amazon SNS and a webhook that takes Slack's JSON."""

from __future__ import annotations

import json
import urllib.request
from typing import Any, Final, Protocol

from streaming_app.alerts.alert import Alert
from streaming_app.config.models import AlertsConfig

_TIMEOUT: Final = 5.0  # seconds, for each step of a request
_SUBJECT: Final = 100  # characters, SNS's limit; printable ASCII
_TEXT: Final = 30_000  # characters; Slack takes 40,000, SNS 256 KiB


class Channel(Protocol):
    """One way to tell; `send` may block for some seconds and may raise anything."""

    name: str

    def send(self, alert: Alert) -> None:
        """Deliver one alert."""
        ...


def open_channels(config: AlertsConfig) -> list[Channel]:
    """The channels that are configured; none of them connects before its first alert."""
    channels: list[Channel] = []
    if config.sns_topic_arn:
        channels.append(SnsChannel(config.sns_topic_arn, config.sns_endpoint_url))
    if config.webhook_url:
        channels.append(WebhookChannel(config.webhook_url))
    return channels


class WebhookChannel:
    """POSTs `{"text": ...}`, which Slack, Mattermost, Rocket.Chat and Google Chat take. Any answer of 2xx is a success."""

    name = "webhook"

    def __init__(self, url: str) -> None:
        self._url = url

    def send(self, alert: Alert) -> None:
        """Deliver one alert. Raises OSError, whose text never holds the address: it is a secret."""
        text = f"*{_slack(alert.title)}*\n{_slack(alert.text)}"[:_TEXT]
        body = json.dumps({"text": text}).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, body, headers, method="POST")  # noqa: S310 - the configuration takes http(s) only
        with urllib.request.urlopen(request, timeout=_TIMEOUT):  # noqa: S310 - see above
            return


def _slack(text: str) -> str:
    """The three characters that Slack's markup reserves, and none else."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class SnsChannel:
    """Publishes to a topic, with level, source and key as message attributes that a subscription can filter by.

    Credentials come from boto3's default chain; the region is the topic's own.
    """

    name = "sns"

    def __init__(self, topic_arn: str, endpoint_url: str = "") -> None:
        self._topic, self._endpoint = topic_arn, endpoint_url
        self._client: Any = None

    def send(self, alert: Alert) -> None:
        """Deliver one alert. Raises botocore's errors."""
        attributes = {"level": alert.level.value, "source": alert.source, "key": alert.key}
        self._open().publish(
            TopicArn=self._topic,
            Subject=_subject(alert.title),
            Message=alert.text[:_TEXT],
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items() if value
            },
        )

    def _open(self) -> Any:
        if self._client is None:
            import boto3  # noqa: PLC0415 - takes 0.3 s, and most runs send nothing
            from botocore.config import Config  # noqa: PLC0415 - see above

            config = Config(connect_timeout=_TIMEOUT, read_timeout=_TIMEOUT, retries={"max_attempts": 2})
            self._client = boto3.client(
                "sns", region_name=self._topic.split(":")[3], endpoint_url=self._endpoint or None, config=config
            )
        return self._client


def _subject(title: str) -> str:
    """SNS takes printable ASCII that begins with a letter, digit or punctuation mark, less than 100 characters."""
    plain = "".join(character if " " <= character <= "~" else "?" for character in " ".join(title.split()))
    return plain[: _SUBJECT - 1] or "alert"
