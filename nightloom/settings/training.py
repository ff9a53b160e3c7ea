"""[training]: when models are trained again, and on which machines."""

import re
from typing import Literal, Self

from pydantic import Field, model_validator

from nightloom.section import MOST_DAYS, Section


class Training(Section):
    holdout_days: int = Field(14, ge=1, le=MOST_DAYS)
    """The last days before the night. No challenger trains on them: gate 2 evaluates on them."""
    refit: bool = True
    """After gate 2, train its winner again on all days up to the night: this refit serves. Without it lists lack the
    items that came in the last `holdout_days` before the training."""
    min_refit_agreement: float = Field(0.2, ge=0, le=1)
    """Least mean share of a list on which refit and judged version agree, among the items that both know; with less the
    judged version serves."""
    max_unknown_share: float = Field(0.01, ge=0, le=1)
    """Between trainings, the serving model takes new items when more than this share of the last 7 days' likes are of
    items that it does not know. Everybody is scored again on such a night. 1 leaves new items to the next training."""
    every_days: int = Field(7, ge=1, le=MOST_DAYS)
    """Retrain when the last training is this many nights ago."""
    new_rows_share: float = Field(0.2, gt=0)
    """Retrain earlier when the interactions have grown by this share since the last training."""
    max_drift: float = Field(0.25, gt=0)
    """Retrain earlier when the last `holdout_days` differ by more than this from as many days before the last training.
    The measure is the population stability index of event types, and of the popularity of the items in events."""
    max_outcome_loss: float = Field(0.2, gt=0, le=1)
    """Retrain earlier when the share of active users who liked an item of their list (gold.outcomes) is lower by this
    share than on the first days after the last training: on the newest day and on two of the last five."""
    search_minutes: float = Field(0, ge=0)
    """Minutes of each training for a search for better hyper-parameters, shared by the models with a `search`. The
    search validates on the last `holdout_days` of the training data, never on the days that gate 2 evaluates on."""
    search_trials: int = Field(30, ge=1)
    """Most trials of one model's search. A search that ends by trials and not by minutes gives the same
    hyper-parameters for the same data."""
    ranks: int | None = Field(None, ge=1)
    """Horovod ranks; default the sum of `hosts`, else the number of GPUs of this machine, else 2. Ranks cannot use GPUs
    where Horovod was built without NCCL: with a GPU the default is then 1, and more ranks train on the CPU."""
    min_ranks: int | None = Field(None, ge=1)
    """Elastic training: when a rank is lost, the others continue from the last epoch, as long as this many are left. A
    new rank joins when its host is back. Without this key a lost rank ends all ranks, and `restarts` applies."""
    restarts: int = Field(2, ge=0)
    """How many times a training whose ranks ended with an error, such as a lost machine, is started again by itself: it
    continues from the last epoch."""
    launcher: Literal["horovodrun", "spark"] = "horovodrun"
    """`horovodrun`: ranks on this machine, or on `hosts` by ssh; `spark`: ranks inside the cluster of places.spark."""
    hosts: tuple[str, ...] = ()
    """HOST:RANKS for each host, reached by ssh where it is not this machine. All see places.home, and this
    checkout at the same paths."""
    ssh_port: int = Field(22, ge=1, le=65535)
    """Port of ssh on `hosts`."""
    network_interface: str | None = Field(None, pattern=r"^[\w.:@-]+$")
    """Network interface through which ranks talk, such as `eth0`: it has this name on every machine. By default Horovod
    looks for an interface by which all machines reach each other."""
    compression: Literal["none", "fp16"] = "none"
    """Compression of gradients between ranks: `fp16` sends half the bytes, rounded. Sparse gradients are never
    rounded."""
    fusion_mb: int = Field(128, ge=0)
    """Gradients are joined into messages of up to this many MB; 0 sends each on its own. With 3 ranks or more, joining
    may change the order of additions from run to run, and so the last bits of the weights."""
    seed: int = Field(7, ge=0, lt=2**32)
    """Seed of every random choice in training."""

    @model_validator(mode="after")
    def _hosts_and_their_ranks(self) -> Self:
        if strange := [host for host in self.hosts if not re.fullmatch(r"[\w.-]+:[1-9]\d*", host)]:
            raise ValueError(f"hosts has '{strange[0]}'; each is HOST:RANKS, such as 'gpu1:4'")
        if self.launcher == "spark" and self.hosts:
            raise ValueError("hosts is for launcher = 'horovodrun'; Spark chooses its machines by itself")
        return self

    @model_validator(mode="after")
    def _ranks_fit_the_hosts(self) -> Self:
        places = sum(int(host.rpartition(":")[2]) for host in self.hosts)
        for name, ranks in (("ranks", self.ranks), ("min_ranks", self.min_ranks)):
            if self.hosts and ranks and ranks > places:
                raise ValueError(f"{name} is {ranks}, and hosts have {places}")
        return self

    @model_validator(mode="after")
    def _elastic(self) -> Self:
        if self.min_ranks and self.launcher == "spark":
            raise ValueError("min_ranks is for launcher = 'horovodrun'; on Spark a training is run again instead")
        if self.min_ranks and self.ranks and self.min_ranks > self.ranks:
            raise ValueError(f"min_ranks is {self.min_ranks}, more than ranks = {self.ranks}")
        if self.min_ranks and len(self.hosts) == 1:
            raise ValueError("min_ranks needs two hosts or more, or none: a host that lost a rank is left for a while")
        return self
