"""Blend: the scores of several models, put on one scale per user and added; training/trainers/blend.py trains it.

User features are added by the lift of popularity by segment (segments.py). Shapes: B users of a block, I items, M
members.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

import models
from models.base import F32, Histories, Model, Params, Strings, read, write
from models.definition import Definition
from models.recommend import lift, scores
from models.segments import Segments
from nightloom.section import join_names


class BlendParams(Params):
    members: str = "graph, als"
    """Names of models, with commas between them."""
    member_params: dict[str, float | int | str | bool] = Field({})
    """Hyper-parameters of members, each given to the blend as "MEMBER.NAME", e.g. "als.factors" = 64."""
    held_out_days: float = Field(7, ge=0)
    """The last days before the cut choose the weights; with 0 a tenth of all likes does, drawn at random."""
    validation_users: int = Field(5000, ge=1)
    """Users whose lists choose the weights, at most."""
    segments: bool = True
    """Whether the lifts of user features are added, with the parameters "segments.NAME"."""
    k: int = Field(20, ge=1)
    """Length of the lists that are compared."""

    @property
    def names(self) -> list[str]:
        return [name.strip() for name in self.members.split(",")]

    def of(self, member: str) -> dict[str, float | int | str | bool]:
        """One member's own hyper-parameters."""
        own = f"{member}."
        return {name.removeprefix(own): value for name, value in self.member_params.items() if name.startswith(own)}

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, given: dict[str, Any]) -> dict[str, Any]:
        """Move "MEMBER.NAME" to where those of the members stand."""
        member_params = {name: value for name, value in given.items() if "." in name}
        return {name: value for name, value in given.items() if name not in member_params} | (
            {"member_params": member_params} if member_params else {}
        )

    @field_validator("members")
    @classmethod
    def _can_be_members(cls, members: str) -> str:
        for name in members.split(","):
            if not can_be_member(name.strip()):
                there = join_names(name for name in models.names() if can_be_member(name))
                raise ValueError(f"no member can be '{name.strip()}'; there are {there}")
        return members

    @field_validator("member_params")
    @classmethod
    def _belong_to_a_member(cls, member_params: dict[str, Any], known: ValidationInfo) -> dict[str, Any]:
        members = known.data.get("members", "")
        for name in member_params:
            if name.partition(".")[0] not in ("segments", *members.replace(" ", "").split(",")):
                raise ValueError(f"'{name}' belongs to no member; the members are {members}")
        return member_params

    @model_validator(mode="after")
    def _check_member_params(self) -> Self:
        for member in (*self.names, "segments"):
            definition = models.definition(member)
            try:
                definition.params(**self.of(member))
            except ValidationError as error:
                name, problem = definition.problem(error)
                raise ValueError(f"{member}.{name}: {problem}") from None
        return self


def can_be_member(name: str) -> bool:
    """Not a model that takes attributes of items: none are given to members. Segments are added by themselves."""
    others = name in models.names() and name not in ("blend", "segments")
    return others and not models.definition(name).item_features


@dataclass(frozen=True)
class Blend:
    """The scores of several models, each put on one scale per user, multiplied by its weight and added.

    Trains every member twice. Good for the last per cent. First the members are trained without the last
    `held_out_days`. Their weights are moved until the lists of the users who came in those days get no better. Then the
    members are trained again on everything. Where users are described, the lifts of `segments` are added: not its
    ranking, which the members have, but what each feature moves (`segments = false` leaves it out).

    Users: hot and warm ones by what the members say, and by their features; a cold one by their features, and without
    any they get what is popular. Items: hot and warm ones; a cold one is not in the model.
    """

    name: ClassVar[str] = "blend"
    params: BlendParams
    item_ids: Strings
    members: tuple[Model, ...]
    weights_M: F32
    segments: Segments | None = None

    def scores(self, histories: Histories) -> F32:
        weighted = zip(self.weights_M, self.members, strict=True)
        parts = (weight * standardise(scores(member, histories)) for weight, member in weighted)
        return np.asarray(sum(parts) + self._by_segments(histories), np.float32)

    def lift(self, histories: Histories) -> F32:
        """The members' own, each by its weight and scale."""
        weighted = zip(self.weights_M, self.members, strict=True)
        lifts = (weight / deviation(scores(member, histories)) * lift(member, histories) for weight, member in weighted)
        return np.asarray(sum(lifts) + self._by_segments(histories), np.float32)

    def _by_segments(self, histories: Histories) -> F32:
        """How user features move what is popular, on the scale of the members, each of which has what is popular."""
        if self.segments is None or not histories.user_features:
            return np.zeros(1, np.float32)
        return lift(self.segments, histories) / deviation(self.segments.items_ID[None, :, 0])

    def contributions(self, history: Histories, item: int) -> F32:
        """The members' own, each by its weight and scale; the scale is taken as given."""
        total_N = np.zeros(len(history.items), np.float32)
        for weight, member in zip(self.weights_M, self.members, strict=True):
            total_N += weight / deviation(scores(member, history))[0] * member.contributions(history, item)
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


def deviation(scores_BI: F32) -> F32:
    """Each user's standard deviation over the items, B x 1; 1 where all items score the same."""
    deviation_B1 = scores_BI.std(axis=1, keepdims=True)
    return np.where(deviation_B1 > 0, deviation_B1, np.float32(1))


def standardise(scores_BI: F32) -> F32:
    """Mean 0 and standard deviation 1 for each user, so that the scores of members can be added."""
    return np.asarray((scores_BI - scores_BI.mean(axis=1, keepdims=True)) / deviation(scores_BI), np.float32)


MODEL = Definition(
    Blend,
    BlendParams,
    user_features=True,
    example_params={
        "members": "graph, item_to_item",
        "held_out_days": 0,
        "graph.sharpness": 0.3,
        "item_to_item.neighbours": 9,
    },
)
