"""The AttachmentStore port."""

from __future__ import annotations

import asyncio
import os

import pytest

from plexus_scoring.model.errors import InvalidRequest, NotFound
from plexus_scoring.model.item import ObjectRef
from plexus_scoring.ports import AttachmentStore


def test_is_an_attachment_store(attachments):
    assert isinstance(attachments, AttachmentStore)


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)) * 8_000])
async def test_what_was_put_is_got(attachments, body):
    await attachments.put("scoreresults/r-1/trace.json", body, content_type="application/json")
    assert await attachments.get("scoreresults/r-1/trace.json") == body


@pytest.mark.parametrize("key", ["scoreresults/r-1/trace.json", "ScoreResults/r-1/trace.json"])
async def test_a_message_names_no_trace_or_log(attachments, key):
    """A result's id derives from account and job: any account could name another one's."""
    await attachments.put("scoreresults/r-1/trace.json", b"another account's")
    for bucket in ("own", "elsewhere"):
        with pytest.raises(InvalidRequest, match="belongs to a result"):
            await attachments.read(ObjectRef(bucket, key))


async def test_a_text_of_the_own_bucket_is_read(attachments):
    await attachments.put("inbox/item.txt", b"text")
    assert await attachments.read(ObjectRef("own", "inbox/item.txt")) == b"text"


async def test_putting_again_replaces(attachments):
    await attachments.put("a/log.txt", b"a longer first text")
    await attachments.put("a/log.txt", b"second")
    assert await attachments.get("a/log.txt") == b"second"


async def test_concurrent_writers_leave_one_whole_object(attachments):
    bodies = [bytes([number]) * 200_000 for number in range(8)]
    await asyncio.gather(*(attachments.put("a/same", body) for body in bodies))
    assert await attachments.get("a/same") in bodies


async def test_a_missing_key_is_not_found(attachments):
    with pytest.raises(NotFound, match="nothing"):
        await attachments.get("a/nothing")


async def test_another_bucket_is_read(attachments):
    assert await attachments.read(ObjectRef("elsewhere", "deep/item.txt")) == b"foreign"


@pytest.mark.parametrize(
    ("bucket", "key"), [("elsewhere", "no"), ("no-such-bucket", "deep/item.txt")]
)
async def test_a_missing_foreign_object_is_not_found(attachments, bucket, key):
    with pytest.raises(NotFound):
        await attachments.read(ObjectRef(bucket, key))


@pytest.mark.parametrize("key", ["with space/ü 漢.txt", "a+b=c&d%20?.txt", "." + "x" * 100])
async def test_an_odd_key_is_a_key(attachments, key):
    await attachments.put(key, b"x")
    assert await attachments.get(key) == b"x"


@pytest.mark.parametrize("key", ["", "\ud800", "k" * 1_025])
async def test_a_key_that_cannot_be_is_refused(attachments, key):
    with pytest.raises(InvalidRequest):
        await attachments.put(key, b"x")
    with pytest.raises((InvalidRequest, NotFound)):
        await attachments.get(key)


@pytest.mark.parametrize("bucket", ["", "UPPER CASE", "../elsewhere", "\ud800", "a" * 300])
async def test_a_bucket_that_cannot_be_has_nothing(attachments, bucket):
    with pytest.raises((InvalidRequest, NotFound)):
        await attachments.read(ObjectRef(bucket, "deep/item.txt"))


async def test_closing_twice_is_safe(attachments):
    await attachments.aclose()
    await attachments.aclose()


@pytest.mark.parametrize("attachments", ["filesystem"], indirect=True)
class TestFilesystem:
    @pytest.mark.parametrize(
        "key",
        ["../elsewhere/deep/item.txt", "/etc/passwd", "a/../../x", "a//b", ".", "a/", "n\0ul"],
    )
    async def test_no_key_leads_out(self, attachments, key):
        with pytest.raises(InvalidRequest):
            await attachments.get(key)
        with pytest.raises(InvalidRequest):
            await attachments.put(key, b"x")

    async def test_no_link_leads_out(self, attachments, tmp_path):
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "link").symlink_to("/etc")
        with pytest.raises(InvalidRequest, match="out of"):
            await attachments.get("link/hostname")

    async def test_a_key_below_a_file_is_refused(self, attachments):
        await attachments.put("a", b"x")
        with pytest.raises(InvalidRequest):
            await attachments.put("a/b", b"x")
        await attachments.put("dir/file", b"x")
        with pytest.raises(InvalidRequest):
            await attachments.put("dir", b"x")

    async def test_a_write_that_fails_leaves_the_old_object_and_no_litter(
        self, attachments, tmp_path, monkeypatch
    ):
        await attachments.put("a/b", b"old")

        def full(_descriptor):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(Exception, match="No space left"):
            await attachments.put("a/b", b"new")
        assert await attachments.get("a/b") == b"old"
        assert [file.name for file in (tmp_path / "own" / "a").iterdir()] == ["b"]
