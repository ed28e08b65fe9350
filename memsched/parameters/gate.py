"""The gate: whether an adapter is good enough to answer anybody. It is what keeps bad recipes out, so it is strict."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

HELD_OUT = 0.9
ANSWER_TOKENS = 0.98
REPLAY_RISE = 0.05
CONTROLS = 0.95
"""Share of the never-asked questions that must be refused."""


class Figures(BaseModel):
    """What a trainer measured, as it stands in the file ``figures.json``.

    Attributes:
        held_out: share of the questions that were kept from training whose greedy answer is the memory's text.
        answer_tokens: share of the answers' tokens, given what comes before, with a probability above one half.
        replay_loss_before, replay_loss_after: mean loss per token on other texts, without and with the adapter.
        controls_refused: share of the questions about what nobody ever said that are refused.
        weights: the file of the weights, in the same folder.
        gguf: the same for llama.cpp, if there is one.
        base: what the adapter is for, in the trainer's words.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    held_out: float = Field(ge=0, le=1)
    answer_tokens: float = Field(ge=0, le=1)
    replay_loss_before: float = Field(gt=0)
    replay_loss_after: float = Field(ge=0)
    controls_refused: float = Field(ge=0, le=1)
    weights: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    gguf: str = Field("", pattern=r"^[A-Za-z0-9_.-]*$")
    base: str = ""

    @property
    def harm(self) -> float:
        """By how much, of one, the loss on other texts rose."""
        return round(self.replay_loss_after / self.replay_loss_before - 1, 9)


def why_refused(figures: Figures) -> list[str]:
    """What is not good enough, with the figures; [] of an adapter that passes."""
    checks = (
        (figures.held_out >= HELD_OUT, f"held-out questions {figures.held_out:.3f}, at least {HELD_OUT}"),
        (
            figures.answer_tokens >= ANSWER_TOKENS,
            f"answer tokens with p > 0.5 {figures.answer_tokens:.3f}, at least {ANSWER_TOKENS}",
        ),
        (figures.harm <= REPLAY_RISE, f"loss on other texts {figures.harm:+.1%}, at most {REPLAY_RISE:+.0%}"),
        (figures.controls_refused >= CONTROLS, f"controls refused {figures.controls_refused:.3f}, at least {CONTROLS}"),
    )
    return [said for passed, said in checks if not passed]
