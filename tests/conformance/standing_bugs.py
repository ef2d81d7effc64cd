"""Drivers in memory that hand over: one that does it right, and one for each mistake that can be made."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, NamedTuple

from msgspec.structs import replace
from omniq.backends.memory import MemoryDriver
from omniq.models.record import Op, Record
from omniq.storage.driver import Capabilities, Standing
from omniq.storage.handed import HandedOver


class _Claim(NamedTuple):
    driver: HandsOver
    kind: str
    partitions: Sequence[str] | None
    owner: str
    limit: int
    excluding: Collection[str]
    until: int
    lease: int


class HandsOver(MemoryDriver):
    """Does it right, with each step in a method that the others get wrong."""

    capabilities: ClassVar[Capabilities] = replace(MemoryDriver.capabilities, hands_over=True)
    stores: ClassVar[dict[str, list[_Claim]]] = {}

    def __init__(self, url: str, **settings: Any) -> None:
        super().__init__(url, **settings)
        self.handed = HandedOver()

    @property
    def standing(self) -> list[_Claim]:
        return self.stores.setdefault(self.url, [])

    async def claim(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        self.ends_by_a_claim(kind, owner)
        return await super().claim(kind, partitions, owner, limit, lease, excluding=excluding)

    async def claim_or_stand(
        self,
        kind: str,
        partitions: Sequence[str] | None,
        owner: str,
        limit: int,
        lease: int,
        standing: Standing,
        *,
        excluding: Collection[str] = (),
    ) -> list[Record]:
        found = await self.claim(kind, partitions, owner, limit, lease, excluding=excluding)
        if not found:
            self.handed.await_for(owner)
            until = self.clock() + standing.lasts
            self.standing.append(_Claim(self, kind, partitions, owner, limit, excluding, until, standing.lease))
        return found

    def handed_over(self, owner: str, limit: int) -> list[Record]:
        return self.handed.take(owner, limit)

    async def end_standing(self, kind: str, owner: str | None = None) -> None:
        self.standing[:] = [each for each in self.standing if each.kind != kind or owner not in (None, each.owner)]

    async def write(self, ops: Sequence[Op]) -> list[bool]:
        outcomes = await super().write(ops)
        for each in list(self.standing):
            if self.is_over(each):
                self.standing.remove(each)
            elif records := await self.take(each):
                self.use_up(each)
                self.deliver(each, records)
        return outcomes

    # --- what can be got wrong ---

    def ends_by_a_claim(self, kind: str, owner: str) -> None:
        self.standing[:] = [each for each in self.standing if (each.kind, each.owner) != (kind, owner)]

    def is_over(self, claim: _Claim) -> bool:
        return self.clock() > claim.until

    async def take(self, claim: _Claim) -> list[Record]:
        return await MemoryDriver.claim(
            self, claim.kind, claim.partitions, claim.owner, claim.limit, claim.lease, excluding=claim.excluding
        )

    def use_up(self, claim: _Claim) -> None:
        if claim in self.standing:
            self.standing.remove(claim)

    def deliver(self, claim: _Claim, records: list[Record]) -> None:
        claim.driver.handed.add(claim.owner, records)
        claim.driver.watchers.notify(claimable=True, own=False)


class LetsAClaimStandWhenTheOwnerClaimsAgain(HandsOver):
    def ends_by_a_claim(self, kind: str, owner: str) -> None:
        pass


class LetsAClaimStandForEver(HandsOver):
    def is_over(self, claim: _Claim) -> bool:
        return False


class LetsAClaimStandWhenItWasUsed(HandsOver):
    def use_up(self, claim: _Claim) -> None:
        pass


class DoesNotEndAStandingClaim(HandsOver):
    async def end_standing(self, kind: str, owner: str | None = None) -> None:
        pass


class HandsOverForLong(HandsOver):
    async def take(self, claim: _Claim) -> list[Record]:
        return await super().take(claim._replace(lease=claim.lease * 15))


class HandsOverMoreThanWasAskedFor(HandsOver):
    async def take(self, claim: _Claim) -> list[Record]:
        return await super().take(claim._replace(limit=claim.limit * 2))


class HandsOverOfAnyPartition(HandsOver):
    async def take(self, claim: _Claim) -> list[Record]:
        return await super().take(claim._replace(partitions=None, excluding=()))


class HandsOverInOrderOfKeys(HandsOver):
    async def take(self, claim: _Claim) -> list[Record]:
        return sorted(await super().take(claim), key=lambda record: record.key)


class HandsOverWhatItHasNotClaimed(HandsOver):
    async def take(self, claim: _Claim) -> list[Record]:
        taken = await super().take(claim)
        return [replace(record, version=record.version - 1) for record in taken]


class HandsOverAfterTheHint(HandsOver):
    def deliver(self, claim: _Claim, records: list[Record]) -> None:
        asyncio.get_running_loop().call_later(0.05, claim.driver.handed.add, claim.owner, records)


class HandsTheSameToAll(HandsOver):
    def deliver(self, claim: _Claim, records: list[Record]) -> None:
        for each in (claim, *self.standing):
            super().deliver(each, records)


STANDING_BUGS = [
    LetsAClaimStandWhenTheOwnerClaimsAgain,
    LetsAClaimStandForEver,
    LetsAClaimStandWhenItWasUsed,
    DoesNotEndAStandingClaim,
    HandsOverForLong,
    HandsOverMoreThanWasAskedFor,
    HandsOverOfAnyPartition,
    HandsOverInOrderOfKeys,
    HandsOverWhatItHasNotClaimed,
    HandsOverAfterTheHint,
    HandsTheSameToAll,
]
