"""Brings what Terraform put into the bucket to this machine: DAGs, and the variables that they read.

    python fetch.py BUCKET PREFIX FOLDER     every minute, by airflow-fetch.timer

A file that is gone from the bucket goes here, too; one that is as it was is not touched, so that Airflow parses nothing anew.
"""

import sys
from pathlib import Path

import boto3


def fetch(bucket: str, prefix: str, folder: Path) -> list[str]:
    """Make `folder` hold what lies below `prefix`; names of the files that have changed."""
    s3 = boto3.client("s3")
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=f"{prefix}/")
    keys = {item["Key"].removeprefix(f"{prefix}/"): item["Key"] for page in pages for item in page.get("Contents", [])}
    changed = [name for name, key in keys.items() if _write(folder / name, s3.get_object(Bucket=bucket, Key=key))]
    for file in folder.rglob("*.py"):
        if str(file.relative_to(folder)) not in keys:
            file.unlink()
            changed.append(str(file.relative_to(folder)))
    return changed


def _write(file: Path, found: dict) -> bool:
    content = found["Body"].read()
    if file.exists() and file.read_bytes() == content:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    whole = file.with_suffix(".part")
    whole.write_bytes(content)
    whole.replace(file)
    return True


if __name__ == "__main__":
    sys.stdout.writelines(f"{name}\n" for name in fetch(sys.argv[1], sys.argv[2], Path(sys.argv[3])))
