"""What a soak's record says: figures over time, what each misfortune did, and the verdict."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

import numpy as np

from d4rt_ros.cli.children import Resources
from d4rt_ros.cli.verdict import Criterion, Verdict, growth

BACK_LIMIT = 5.0  # seconds after a misfortune until there is a result again
MEMORY_LIMIT, LATENCY_LIMIT = 0.02, 0.25  # growth from the warm-up's end to the end, as a share
FIRST_ROUND_LIMIT = 0.06  # of memory, while buffers are still taken into use for the first time
FLAT = 3  # files and threads more than at first; discovery opens and closes some
SECOND = 1_000_000_000


@dataclass(frozen=True)
class Happened:
    """A misfortune that was. begin, end: stamps, ns; following: when the next one began, or the end of it all."""

    name: str
    begin: int
    end: int
    following: int
    lost: tuple[int, int] | None


@dataclass(frozen=True)
class Record:
    """Everything that is judged. resources: by time in ns, once a second. notes: of listening.robot.

    begin, end: ns. warm: when the warm-up was over; first_round: it never was, everything happened once at most.
    ended: the processes that ended, with their last words.
    """

    notes: object
    resources: list[tuple[int, Resources]]
    happened: list[Happened]
    begin: int
    warm: int
    end: int
    first_round: bool
    ended: list[str]


def verdict(record: Record) -> Verdict:
    """Raises nothing: what cannot be judged is said to be so."""
    warm = [(at, held) for at, held in record.resources if at >= record.warm]
    times = [at for at, _ in warm]
    criteria = [
        Criterion("no process ended, no traceback", not record.ended, "; ".join(record.ended) or "none"),
        _memory(
            times,
            [held.memory for _, held in warm],
            FIRST_ROUND_LIMIT if record.first_round else MEMORY_LIMIT,
        ),
        *(_flat(name, [getattr(held, name) for _, held in warm]) for name in ("files", "threads")),
        _latency(record),
        _back(record),
        _silent(record),
        _services(record),
    ]
    minutes = (record.end - record.begin) / SECOND / 60
    return Verdict(f"after {minutes:.1f} minutes and {len(record.happened)} misfortunes", criteria)


def outcomes(record: Record) -> list[tuple[str, str, str, str]]:
    """A row for each kind of misfortune: its name, how often, seconds until a result and until a known pose."""
    rows = []
    for name in dict.fromkeys(h.name for h in record.happened):
        times = [h for h in record.happened if h.name == name]
        results = [_seconds_back(record, h) for h in times]
        poses = [_seconds_known(record, h) for h in times]
        rows.append((name, str(len(times)), *(_spread(values) for values in (results, poses))))
    return rows


def interval_row(record: Record, begin: int, end: int) -> list[str]:
    """What is printed of a stretch of time; benchmark_soak.COLUMNS says what each is."""
    notes = record.notes
    latency = latencies(notes, begin, end)
    held = [held for at, held in record.resources if begin <= at < end]
    poses = [known for stamp, known in notes.poses if begin <= stamp < end]
    bad = sum(not answer.good for answer in notes.answers if begin <= answer.at < end)
    return [
        f"{(end - record.begin) / SECOND / 60:.1f}",
        f"{1e9 * len(latency) / (end - begin):.1f}",
        "{:.0f} / {:.0f}".format(*np.percentile(latency, (50, 95))) if len(latency) else "-",
        *(
            [f"{held[-1].memory / 2**20:.0f}", str(held[-1].files), str(held[-1].threads)]
            if held
            else ["-"] * 3
        ),
        str(notes.restarts),
        f"{1 - np.mean(poses):.0%}" if poses else "-",
        str(bad),
        "; ".join(f"{n} s {cause}" for cause, n in causes(notes, begin, end).most_common(2)),
    ]


def latencies(notes, begin: int, end: int) -> np.ndarray:
    """Milliseconds from a cloud's stamp to its receipt, of those received from begin to end."""
    return np.array([(receipt - stamp) / 1e6 for stamp, receipt in notes.results if begin <= receipt < end])


def causes(notes, begin: int, end: int) -> Counter:
    """For how many seconds the diagnostics said that the node is lost, by what they said."""
    lost = (
        message.partition("not trusted: ")[2] or message
        for at, values, message in notes.states
        if begin <= at < end and values.get("tracking") == "lost"
    )
    # Without its numbers, so that one cause is counted as one.
    return Counter(re.sub(r"\d+(\.\d+)?", "…", message.split("; ")[0]) for message in lost)


def lost_shares(notes) -> dict[str, float]:
    """Of all poses those that were not known, by cause as the diagnostics tell, sampled once a second."""
    by_cause = causes(notes, 0, 1 << 63)
    states = max(sum(1 for _, values, _ in notes.states if values.get("tracking") in ("lost", "good")), 1)
    return {cause: count / states for cause, count in by_cause.most_common()}


def _memory(times: list[int], memory: list[int], limit: float) -> Criterion:
    name = f"memory grows by less than {limit:.0%} after warm-up"
    if len(memory) < 20:
        return Criterion(name, None, "too short")
    share = growth(times, memory)
    return Criterion(name, share < limit, f"{share:+.2%} of {np.median(memory) / 2**20:.0f} MiB")


def _flat(what: str, counts: list[int]) -> Criterion:
    name = f"open {what} stay" if what == "files" else f"{what} stay"
    if len(counts) < 20:
        return Criterion(name, None, "too short")
    quarter = len(counts) // 4
    first, last = np.median(counts[:quarter]), np.median(counts[-quarter:])
    return Criterion(name, bool(last <= first + FLAT), f"{first:.0f} -> {last:.0f}, at most {max(counts)}")


def _latency(record: Record) -> Criterion:
    name = f"latency grows by less than {LATENCY_LIMIT:.0%}"
    seconds = range(record.warm, record.end - SECOND, SECOND)
    medians = [(at, np.median(ms)) for at in seconds if len(ms := latencies(record.notes, at, at + SECOND))]
    if len(medians) < 20:
        return Criterion(name, None, "too short")
    share = growth(*zip(*medians, strict=True))
    found = f"{share:+.0%} of {np.median([ms for _, ms in medians]):.0f} ms"
    return Criterion(name, share < LATENCY_LIMIT, found)


def _back(record: Record) -> Criterion:
    """A misfortune after which the next one came before a result had to be there says nothing."""
    late, times = [], []
    for happened in record.happened:
        seconds = _seconds_back(record, happened)
        if seconds is not None:
            times.append(seconds)
        if (
            (seconds or 0) > BACK_LIMIT
            or seconds is None
            and happened.following - happened.end > BACK_LIMIT * SECOND
        ):
            late.append(happened.name)
    name = f"results within {BACK_LIMIT:g} s after every misfortune"
    if not times:
        return Criterion(name, None if not late else False, "no result" if late else "no misfortune")
    found = f"{np.median(times):.1f} s in the median, {max(times):.1f} s at most"
    return Criterion(
        name, not late, found + (f"; too late after {', '.join(sorted(set(late)))}" if late else "")
    )


def _silent(record: Record) -> Criterion:
    """While nothing can be known no pose is given out as known, and no transform."""
    told, spans = [], [(h.name, h.begin, *h.lost) for h in record.happened if h.lost]
    for name, happened, begin, end in spans:
        known = [stamp for stamp, known in record.notes.poses if known and begin <= stamp < end]
        sent = [stamp for stamp in record.notes.transforms if begin <= stamp < end]
        if known or sent:
            last = (max(known + sent) - happened) / SECOND
            told.append(
                f"{name}: {len(known)} poses, {len(sent)} transforms, the last {last:.2f} s after it began"
            )
    name = "no pose and no TF while the camera shows nothing, or another place"
    if not spans:
        return Criterion(name, None, "it never did")
    return Criterion(
        name, not told, "; ".join([f"{len(told)} of {len(spans)} such times were not silent", *told[:4]])
    )


def _services(record: Record) -> Criterion:
    answers = record.notes.answers
    bad = Counter(f"{a.service}: {a.told}"[:120] for a in answers if not a.good)
    found = f"{len(answers)} answers, {max((a.seconds for a in answers), default=0):.1f} s at most"
    found += "".join(f"; {n} times {what}" for what, n in bad.most_common(4))
    return Criterion("every service answers, and as it should", not bad if answers else None, found)


def _seconds_back(record: Record, happened: Happened) -> float | None:
    """From its end to the first result about an image after it; None where there is none before the next one."""
    return next(
        (
            (receipt - happened.end) / SECOND
            for stamp, receipt in record.notes.results
            if stamp >= happened.end and receipt <= happened.following
        ),
        None,
    )


def _seconds_known(record: Record, happened: Happened) -> float | None:
    """From its end to the stamp of the first pose that is known; None where there is none before the next one."""
    poses = record.notes.poses
    begin = happened.lost[1] if happened.lost else happened.end
    known = (stamp for stamp, known in poses if known and begin <= stamp <= happened.following)
    return next(((stamp - happened.end) / SECOND for stamp in known), None)


def _spread(seconds: list[float | None]) -> str:
    """Median and most; how often there was none."""
    there = [s for s in seconds if s is not None]
    text = f"{np.median(there):.1f} s, at most {max(there):.1f} s" if there else "-"
    missing = len(seconds) - len(there)
    return text + (f" ({missing} times not before the next)" if missing else "")
