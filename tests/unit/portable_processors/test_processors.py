"""Transcript processors: what each makes of a text, what is skipped, and that none blows up."""

import copy
import logging

import pytest

from plexus_scoring.engines.portable.processors import PROCESSORS, apply_processors
from plexus_scoring.model.errors import ScorecardError


def run(text, *processors, metadata=None):
    configured = [
        {"class": part} if isinstance(part, str) else {"class": part[0], "parameters": part[1]}
        for part in processors
    ]
    return apply_processors(configured, text, metadata or {})


def text_of(text, *processors, metadata=None):
    return run(text, *processors, metadata=metadata)[0]


CUSTOMER = "FilterCustomerOnlyProcessor"
REMOVE = "RemoveSpeakerIdentifiersTranscriptFilter"
ENUMERATE = "AddEnumeratedSpeakerIdentifiersTranscriptFilter"
UNKNOWN = "AddUnknownSpeakerIdentifiersTranscriptFilter"
WINDOWS = "RelevantWindowsTranscriptFilter"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("no labels here", "no labels here"),
        ("Agent: Hi.\nCustomer: I\nwant out.\nRep: No.\nContact:Yes!", "I\nwant out. Yes!"),
        ("before Customer: a Agent: b", "a"),
        ("gluedCustomer:a.Agent:b", "a."),
        ("Agent: Customer: hi", ""),
        ("Customer: Agent: hi", "Agent: hi"),
        ("customer: lower case is no label", "customer: lower case is no label"),
        ("Agent: only the agent", ""),
        ("Customer:", ""),
    ],
)
def test_keeps_the_customer(text, expected):
    assert text_of(text, CUSTOMER) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Agent: Hi.\nCustomer: Hello. Agent: Bye: now",
            "Speaker A: Hi.\nSpeaker B: Hello. Speaker A: Bye: now",
        ),
        ("no speakers: here", "no speakers: here"),
        ("[00:01] Agent: x", "[00:01] Agent: x"),
        ("Ann:hi", "Speaker A: hi"),
    ],
)
def test_enumerates_speakers(text, expected):
    assert text_of(text, ENUMERATE) == expected


def test_enumerates_more_speakers_than_letters():
    text = "\n".join(f"s{number}: x" for number in range(29))
    assert text_of(text, ENUMERATE).split("\n")[25:] == [
        "Speaker Z: x",
        "Speaker AA: x",
        "Speaker AB: x",
        "Speaker AC: x",
    ]


def test_hides_speakers():
    assert text_of("Agent: at 10:30, e-mail:  me\nÄrzte:x", UNKNOWN) == (
        "Unknown Speaker: at Unknown Speaker: 30, e-Unknown Speaker: me\nUnknown Speaker: x"
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Agent: Hi.\nCustomer:  Hello", "Hi.\nHello"),
        ("Speaker 0: a\nunknown  speaker : b\nSPEAKER_1: c", "a\nb\nc"),
        ("Note: a then customer: b. Total: c", "a then b. c"),
        ("  a \t b  \n  c  ", "a b\nc"),
        ("We saw Tom: he ran", "We saw Tom: he ran"),
    ],
)
def test_removes_speakers(text, expected):
    assert text_of(text, REMOVE) == expected


TALK = "a\nb card\nc\nd\ne\nf CARD\ng"


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"keywords": ["card"]}, "a\nb card\nc\n...\ne\nf CARD\ng"),
        ({"keywords": ["card"], "case_sensitive": True}, "a\nb card\nc\n..."),
        ({"keywords": ["card"], "prev_count": 0, "next_count": 0}, "...\nb card\n...\nf CARD\n..."),
        ({"keywords": ["nowhere"]}, ""),
        ({"keywords": ["card"], "prev_count": 10**9, "next_count": 10**9}, TALK),
        ({"keywords": ["card"], "prev_count": -2, "next_count": 0}, ""),
    ],
)
def test_keeps_relevant_windows(parameters, expected):
    assert text_of(TALK, (WINDOWS, parameters)) == expected


def test_keeps_windows_of_words_that_are_nearly_a_keyword():
    parameters = {
        "keywords": ["cancelation"],
        "fuzzy_match": True,
        "prev_count": 0,
        "next_count": 0,
    }
    assert text_of("good morning\nmy cancellation fee\nthank you", (WINDOWS, parameters)) == (
        "...\nmy cancellation fee\n..."
    )
    assert text_of("good morning", (WINDOWS, {**parameters, "fuzzy_threshold": 101})) == ""


def test_writes_contractions_out():
    assert (
        text_of("I can't, y'all. It\u2019s U", "ExpandContractionsProcessor")
        == "I cannot, you all. It is YOU"
    )


def test_removes_the_stop_words_of_the_nltk_data(tmp_path, monkeypatch):
    corpus = tmp_path / "corpora" / "stopwords"
    corpus.mkdir(parents=True)
    (corpus / "english").write_text("the\nis\n", "utf-8")
    monkeypatch.setenv("NLTK_DATA", str(tmp_path))
    assert text_of("The  sky\nis blue", "RemoveStopWordsTranscriptFilter") == "sky blue"


DEEPGRAM = {
    "metadata": {"duration": 30.5},
    "results": {
        "channels": [
            {
                "alternatives": [
                    {
                        "words": [
                            {"word": "hello", "start": 0.0, "speaker": 0},
                            {"word": "bye", "start": 25.0, "speaker": 0},
                        ],
                        "paragraphs": {
                            "paragraphs": [
                                {
                                    "speaker": 0,
                                    "start": 0.0,
                                    "sentences": [
                                        {"text": "Hello.", "start": 0.0},
                                        {"text": "Thanks.", "start": 11.0},
                                    ],
                                },
                                {"speaker": 0, "start": 25, "text": "Bye."},
                            ]
                        },
                    }
                ]
            },
            {
                "alternatives": [
                    {
                        "words": [{"word": "hi", "start": 5.0}],
                        "paragraphs": {"paragraphs": [{"start": 5.0, "text": "Hi."}]},
                    }
                ]
            },
        ],
        "utterances": [{"start": 1}, {"start": 26}],
    },
}


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({}, "Hello. Thanks.\n\nHi.\n\nBye."),
        ({"format": "sentences"}, "Hello.\nHi.\nThanks.\nBye."),
        ({"format": "words"}, "hello hi bye"),
        (
            {
                "format": "sentences",
                "speaker_labels": True,
                "include_timestamps": True,
                "channel": "1",
            },
            "[5.00s] Channel 1: Hi.",
        ),
        (
            {"speaker_labels": True},
            "Speaker 0: Hello. Thanks.\n\nSpeaker 1: Hi.\n\nSpeaker 0: Bye.",
        ),
        (
            {"format": "words", "speaker_labels": True, "include_timestamps": True, "channel": 0},
            "Speaker 0: hello[0.00] Speaker 0: bye[25.00]",
        ),
        ({"format": "poem"}, "raw"),
        ({"channel": "left"}, "raw"),
        ({"channel": 7}, ""),
    ],
)
def test_formats_deepgram(parameters, expected):
    assert (
        text_of("raw", ("DeepgramFormatProcessor", parameters), metadata={"deepgram": DEEPGRAM})
        == expected
    )


@pytest.mark.parametrize(
    ("parameters", "expected"),
    [
        ({"end": 10}, "Speaker 0: Hello.\n\nSpeaker 1: Hi."),
        ({"start": "11", "end": 25}, "Speaker 0: Thanks."),
        ({"last": 10}, "Speaker 0: Bye."),
        ({"start": "soon"}, "raw"),
    ],
)
def test_slices_deepgram_by_time(parameters, expected):
    metadata = {"deepgram": copy.deepcopy(DEEPGRAM), "other": 1}
    text, changed = run("raw", ("DeepgramTimeSliceProcessor", parameters), metadata=metadata)
    assert text == expected
    assert metadata["deepgram"] == DEEPGRAM
    assert changed["other"] == 1


def test_what_is_sliced_is_what_the_next_processor_reads():
    text, metadata = run(
        "raw",
        ("DeepgramTimeSliceProcessor", {"end": 2}),
        ("DeepgramFormatProcessor", {"format": "words"}),
        metadata={"deepgram": DEEPGRAM},
    )
    assert text == "hello"
    assert metadata["deepgram"]["results"]["utterances"] == [{"start": 1}]


@pytest.mark.parametrize(
    "deepgram", [None, {}, "text", [1], {"results": None}, {"results": {"channels": [None]}}]
)
@pytest.mark.parametrize("name", ["DeepgramFormatProcessor", "DeepgramTimeSliceProcessor"])
def test_a_transcript_of_another_shape_changes_nothing(name, deepgram):
    assert run("raw", name, metadata={"deepgram": deepgram}) == ("raw", {"deepgram": deepgram})


@pytest.mark.parametrize(
    ("processor", "said"),
    [
        ({"class": "NoSuchProcessor"}, "no such processor"),
        ({"class": "ColumnDatasetFilter", "parameters": {"filters": []}}, "data sets"),
        ({"class": CUSTOMER, "parameters": None}, "not a mapping"),
        ({"parameters": {}}, "no 'class'"),
        ({"class": WINDOWS}, "ValueError"),
        (
            {"class": WINDOWS, "parameters": {"keywords": ["x"], "window_unit": "bananas"}},
            "ValueError",
        ),
        ({"class": WINDOWS, "parameters": {"keywords": [5]}}, "AttributeError"),
        ({"class": "RemoveStopWordsTranscriptFilter"}, "NLTK_DATA"),
    ],
)
def test_one_that_cannot_run_is_skipped_with_a_warning(
    processor, said, caplog, monkeypatch, tmp_path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NLTK_DATA", raising=False)
    with caplog.at_level(logging.WARNING):
        text, _ = apply_processors([processor, {"class": ENUMERATE}], "Agent: secret", {})
    assert text == "Speaker A: secret"
    assert said in caplog.text
    assert "secret" not in caplog.text


def test_an_entry_that_is_no_mapping_is_the_authors_error():
    with pytest.raises(ScorecardError, match="processor 1"):
        apply_processors(["FilterCustomerOnlyProcessor"], "x", {})


MEGABYTE = 1_000_000


@pytest.mark.parametrize(
    "text",
    [
        "Agent: Hello there. Customer: I don't know.\n" * (MEGABYTE // 44),
        " " * MEGABYTE + "x",
        "Agent:" + "\t" * MEGABYTE + "x Customer: y",
        "a" * MEGABYTE,
        "speaker " * (MEGABYTE // 8),
        "speaker" + " " * MEGABYTE,
        "\nAB" + "\n" * MEGABYTE,
        "a:\n" * (MEGABYTE // 3),
        "Agent:" * (MEGABYTE // 6),
        "'" * MEGABYTE,
        "".join(f"s{number}:\n" for number in range(MEGABYTE // 8)),
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_megabyte_is_no_trouble(text):
    every = [
        (name, {"keywords": ["card", "agent"], "next_count": MEGABYTE} if name == WINDOWS else {})
        for name in sorted(PROCESSORS)
    ]
    for processor in every:
        text_of(text, processor)
