"""Calls put together: chains, groups, chords, chunks. The signatures are dicts, as Celery's are, and travel as they are."""

from __future__ import annotations

from multi.app.canvas.batches import chunks, xmap, xstarmap
from multi.app.canvas.chains import Chain
from multi.app.canvas.chords import Chord
from multi.app.canvas.groups import Group
from multi.app.canvas.signatures import Signature, maybe_signature, signature
from multi.app.canvas.stamping import StampingVisitor

chain, group, chord = Chain, Group, Chord
subtask, maybe_subtask = signature, maybe_signature

__all__ = [
    "Chain",
    "Chord",
    "Group",
    "Signature",
    "StampingVisitor",
    "chain",
    "chord",
    "chunks",
    "group",
    "maybe_signature",
    "maybe_subtask",
    "signature",
    "subtask",
    "xmap",
    "xstarmap",
]
