"""Blend: the scores of several models, put on one scale per user and added; training/trainers/blend.py trains it.

User features are added by the lift of popularity by segment (segments.py). Shapes: B users of a block, I items, M
members.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

import models
from models.base import (
    F32,
    I64,
    Examples,
    ExtendableModel,
    Histories,
    Model,
    Params,
    Strings,
    item_index,
    read,
    write,
)  # fmt: skip
from models.definition import Definition
from models.recommend import lift, scores
from models.segments import Segments
from nightloom.errors import DataError
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
    any they get what is popular. Items: hot and warm ones; one that came after the training is scored by the members
    that take it, as if the others agreed with them; a cold one is not in the model.
    """

    name: ClassVar[str] = "blend"
    params: BlendParams
    item_ids: Strings
    members: tuple[Model, ...]
    weights_M: F32
    segments: Segments | None = None

    def scores(self, histories: Histories) -> F32:
        def part(weight: np.float32, member: Model, own: Histories) -> F32:
            return np.asarray(weight * standardise(scores(member, own)), np.float32)

        return np.asarray(self._sum(part, histories) + self._by_segments(histories), np.float32)

    def lift(self, histories: Histories) -> F32:
        """The members' own, each by its weight and scale."""

        def part(weight: np.float32, member: Model, own: Histories) -> F32:
            return np.asarray(weight / deviation(scores(member, own)) * lift(member, own), np.float32)

        return np.asarray(self._sum(part, histories) + self._by_segments(histories), np.float32)

    def _sum(self, part: Callable[[np.float32, Model, Histories], F32], histories: Histories) -> F32:
        """B x I: the members' parts, each in its own item order, added up in the blend's."""
        total_BI = np.zeros((len(histories), len(self.item_ids)), np.float32)
        for weight, member, index in self._members():
            if index is None:
                total_BI += part(weight, member, histories)
                continue
            known_I = index >= 0
            total_BI[:, known_I] += part(weight, member, histories.reindexed(index))[:, index[known_I]]
        return total_BI if self._scale_I is None else np.asarray(total_BI * self._scale_I, np.float32)

    def _members(self) -> Iterator[tuple[np.float32, Model, I64 | None]]:
        """Weight, member, and the member's index of each item, -1 for one that it does not know; None: the same."""
        return zip(self.weights_M, self.members, self._indices, strict=True)

    @cached_property
    def _indices(self) -> list[I64 | None]:
        same = (np.array_equal(self.item_ids, member.item_ids) for member in self.members)
        return [
            None if equal else item_index(self.item_ids, member.item_ids)
            for equal, member in zip(same, self.members, strict=True)
        ]

    @cached_property
    def _scale_I(self) -> F32 | None:
        """All weights divided by those of the members that know the item; None where all know all."""
        if all(index is None for index in self._indices):
            return None
        knowing_I = np.zeros(len(self.item_ids), np.float32)
        for weight, _, index in self._members():
            knowing_I += weight if index is None else weight * (index >= 0)
        total_I = np.full_like(knowing_I, self.weights_M.sum())
        return np.divide(total_I, knowing_I, out=np.zeros_like(knowing_I), where=knowing_I > 0)

    def _by_segments(self, histories: Histories) -> F32:
        """How user features move what is popular, on the scale of the members, each of which has what is popular."""
        if self.segments is None or not histories.user_features:
            return np.zeros(1, np.float32)
        return lift(self.segments, histories) / deviation(self.segments.items_ID[None, :, 0])

    def contributions(self, history: Histories, item: int) -> F32:
        """The members' own, each by its weight and scale; the scale is taken as given."""
        total_N = np.zeros(len(history.items), np.float32)
        for weight, member, index in self._members():
            own, place = (history, item) if index is None else (history.reindexed(index), int(index[item]))
            if place >= 0:
                known_N = slice(None) if index is None else index[history.items] >= 0
                scale = weight / deviation(scores(member, own))[0]
                total_N[known_N] += scale * member.contributions(own, place)
        return total_N if self._scale_I is None else np.asarray(total_N * self._scale_I[item], np.float32)

    def extended(self, examples: Examples) -> Self:
        """With the members that take new items; the others, and the weights, stay. Raises DataError without such."""
        weighted = zip(self.weights_M, self.members, strict=True)
        if not any(weight > 0 and isinstance(member, ExtendableModel) for weight, member in weighted):
            raise DataError("blend: none of its members with a weight takes new items")
        members = tuple(
            member.extended(examples) if isinstance(member, ExtendableModel) else member for member in self.members
        )
        segments = self.segments.extended(examples) if self.segments else None
        return type(self)(self.params, examples.item_ids, members, self.weights_M, segments)

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
