"""Blend: the scores of several models, put on one scale per user and added, with weights that later likes chose.

First the members are trained without the latest likes, and the weights are moved, one at a time, as long as the lists
of the users who gave these likes become better (NDCG). Then the members are trained anew on everything. What is said of
users, their words, is added by the lift of popularity by segment (segments.py).
Shapes: B users of a block, I items, M members, T users who judge, C candidates of a user, K list length, V moves.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, ValidationInfo, field_validator, model_validator

import models
from models.base import F32, Histories, Model, Params, Strings, read, write
from models.definition import Definition
from models.recommend import lift, scores
from models.segments import Segments
from nightloom.section import listed


class BlendParams(Params):
    members: str = "graph, als"
    """Names of models, with commas between them."""
    theirs: dict[str, float | int | str | bool] = Field({})
    """Hyper-parameters of members, each given to the blend as "MEMBER.NAME", e.g. "als.factors" = 64."""
    held_out_days: float = Field(7, ge=0)
    """The last days before the cut choose the weights; 0: a tenth of all likes, drawn, do."""
    judges: int = Field(5000, ge=1)
    """Users who choose, at most."""
    segments: bool = True
    """Whether what users with the same words like more than others is added, with the parameters "segments.NAME"."""
    k: int = Field(20, ge=1)
    """Length of the lists that are compared."""

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.members.split(",")]

    def of(self, member: str) -> dict[str, float | int | str | bool]:
        """One member's own hyper-parameters."""
        return {name.partition(".")[2]: value for name, value in self.theirs.items() if name.startswith(f"{member}.")}

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Move "MEMBER.NAME" to where those of the members stand."""
        theirs = {name: value for name, value in given.items() if "." in name}
        return {name: value for name, value in given.items() if name not in theirs} | (
            {"theirs": theirs} if theirs else {}
        )

    @field_validator("members")
    @classmethod
    def _can_be_members(cls, members: str) -> str:
        for name in members.split(","):
            if not can_be_member(name.strip()):
                there = listed(name for name in models.names() if can_be_member(name))
                raise ValueError(f"no member can be '{name.strip()}'; there are {there}")
        return members

    @field_validator("theirs")
    @classmethod
    def _belong_to_a_member(cls, theirs: dict[str, Any], known: ValidationInfo) -> dict[str, Any]:
        members = known.data.get("members", "")
        for name in theirs:
            if name.partition(".")[0] not in ("segments", *members.replace(" ", "").split(",")):
                raise ValueError(f"'{name}' belongs to no member; the members are {members}")
        return theirs


def can_be_member(name: str) -> bool:
    """Not a model that takes attributes of items: none are given to members. Segments are added by themselves."""
    others = name in models.names() and name not in ("blend", "segments")
    return others and not models.definition(name).item_attributes


@dataclass(frozen=True)
class Blend:
    """Users and items, hot, warm and cold: what the members say, each by its weight; a cold item is in no member. Where
    users have words, these move the scores as far as they move what is popular: all that is known of a cold user.
    """

    name: ClassVar[str] = "blend"
    params: BlendParams
    item_ids: Strings
    members: tuple[Model, ...]
    weights_M: F32
    segments: Segments | None = None

    def scores(self, histories: Histories) -> F32:
        both = (w * scaled(scores(member, histories)) for w, member in zip(self.weights_M, self.members, strict=True))
        return np.asarray(sum(both) + self._by_words(histories), np.float32)

    def lift(self, histories: Histories) -> F32:
        """The members' own, each by its weight and scale."""
        both = zip(self.weights_M, self.members, strict=True)
        lifts = (w / spread(scores(member, histories)) * lift(member, histories) for w, member in both)
        return np.asarray(sum(lifts) + self._by_words(histories), np.float32)

    def _by_words(self, histories: Histories) -> F32:
        """How the users' words move what is popular, on the scale of the members: there it is part of each already."""
        if self.segments is None or not histories.traits:
            return np.zeros(1, np.float32)
        return lift(self.segments, histories) / spread(self.segments.items_ID[None, :, 0])

    def contributions(self, history: Histories, item: int) -> F32:
        """The members' own, each by its weight and scale; the scale is taken as given."""
        total_N = np.zeros(len(history.items), np.float32)
        for weight, member in zip(self.weights_M, self.members, strict=True):
            total_N += weight / spread(scores(member, history))[0] * member.contributions(history, item)
        return total_N

    def save(self, folder: Path) -> None:
        write(folder, self, weights=self.weights_M)
        for name, member in zip(self.params.names, self.members, strict=True):
            member.save(folder / name)
        if self.segments:
            self.segments.save(folder / "segments")

    @classmethod
    def load(cls, folder: Path) -> Self:
        params, arrays = read(folder)
        known = BlendParams(**params)
        members = tuple(models.load(folder / name) for name in known.names)
        segments = Segments.load(folder / "segments") if (folder / "segments").exists() else None
        return cls(known, arrays["item_ids"], members, arrays["weights"], segments)


def spread(scores_BI: F32) -> F32:
    """Each user's standard deviation over the items, B x 1; 1 where all items score the same."""
    spread_B1 = scores_BI.std(axis=1, keepdims=True)
    return np.where(spread_B1 > 0, spread_B1, np.float32(1))


def scaled(scores_BI: F32) -> F32:
    """Mean 0 and standard deviation 1 for each user: what members say can be added."""
    return np.asarray((scores_BI - scores_BI.mean(axis=1, keepdims=True)) / spread(scores_BI), np.float32)


MODEL = Definition(Blend, BlendParams, user_attributes=True)
