"""Model profiles: the model of each role, with its address, window and prices.

A capsule names a role and never a provider. The operator maps roles to models by settings.
"""

import datetime as dt
from typing import Literal, Self

from pydantic import Field, SecretStr

from capsules.base_model import StrictModel
from capsules.errors import Invalid
from capsules.models.chat import Price
from somagent.models.prices import PriceBook, load_prices
from somagent.settings import Settings

ProviderKind = Literal["openai-compatible"]
"""Kinds of model providers, as in `PROVIDERS` of `somagent/models/providers.py`."""


class Profile(StrictModel):
    """One model at one address. A role's profile takes missing fields from the default profile."""

    provider: ProviderKind = "openai-compatible"
    model: str
    base_url: str = Field(description="OpenAI-compatible base URL, usually ending in /v1.")
    api_key: SecretStr | None = None
    window: int = Field(4096, ge=256, description="Tokens of input and output together.")
    input_price: int | None = Field(None, ge=0, description="Micro-dollars per million input tokens.")
    output_price: int | None = Field(None, ge=0, description="Micro-dollars per million output tokens.")
    dialect: Literal["llama.cpp", "openai"] = Field(
        "llama.cpp", description="How the server takes schemas: bounded for a grammar, or as strict mode wants them."
    )


class Profiles(StrictModel):
    """Profiles by role, with a default for other roles."""

    default: Profile
    roles: dict[str, Profile] = Field(default_factory=dict)
    prices: PriceBook | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Read the settings `slm_*` and the price book. Raises pydantic's ValidationError or Invalid."""
        default = Profile(
            model=settings.slm_model,
            base_url=settings.slm_base(),
            api_key=settings.slm_api_key,
            window=settings.slm_window,
        )
        # An API key belongs to an address: a role with another address does not inherit it.
        known = default.model_dump(exclude={"api_key"})
        roles = {
            role: Profile.model_validate(
                known | ({} if "base_url" in changes else {"api_key": default.api_key}) | changes
            )
            for role, changes in settings.slm_profiles.items()
        }
        prices = load_prices(settings.price_book) if settings.price_book else None
        return cls(default=default, roles=roles, prices=prices)

    def of(self, role: str) -> Profile:
        """Return the profile of a role, or the default."""
        return self.roles.get(role, self.default)

    def price(self, role: str, day: dt.date) -> Price:
        """Return the price of a role's model on a day: from its profile, else the price book, else zero.

        Raises Invalid when the price book has no price for the model, or the profile has only one of two prices.
        """
        profile = self.of(role)
        own = (profile.input_price, profile.output_price)
        if self.prices is not None and own != (None, None) and None in own:
            raise Invalid(
                f"The profile of role {role!r} names one price of two: name both, or neither and the "
                "price book counts.",
                role=role,
            )
        if self.prices is None or None not in own:
            return Price(input=profile.input_price or 0, output=profile.output_price or 0)
        return self.prices.price(profile.model, day)
