"""Exercises of the page *Digits*."""

from typing import Any

import torch
from torch import nn

from gradbook.check.answers import Numbers, WrongAnswer, answer_function, judge_numbers
from gradbook.check.traces import leaves_no_trace

# What the text of the exercise gives; the page holds its numbers against these.
CONVOLUTION: dict[str, Any] = {"outputs": 32, "channels": 16, "window": (3, 3)}


def conv_parameters(answer: Numbers) -> None:
    """Check how many numbers ``nn.Conv2d(16, 32, 3)`` learns.

    Raises:
        WrongAnswer: another number; the message says what is wrong.
        TypeError: `answer` holds no number.

    >>> conv_parameters(4640)
    Right. 32 * 16 * 3 * 3 weights and 32 biases.
    >>> conv_parameters(4608)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: The biases are missing.
    """
    # On the meta device a layer has shapes and no numbers, so none is drawn.
    outputs, channels, window = CONVOLUTION.values()
    weights = nn.Conv2d(channels, outputs, window, device="meta").weight.numel()
    judge_numbers(
        answer,
        float(weights + outputs),
        right="32 * 16 * 3 * 3 weights and 32 biases.",
        mistakes={
            "The biases are missing.": float(weights),
            "One bias for each output, not for each weight.": float(2 * weights),
            "Each output looks at all 16 channels.": float(weights / channels + outputs),
        },
        counts=True,
    )


def accuracy_by_class(answer: object) -> None:
    """Check ``by_class(answers, labels)``: the share of right answers for each digit.

    Raises:
        WrongAnswer: the shares are wrong; the message says how.
        TypeError: `answer` is not a function, or returns no numbers.

    >>> accuracy_by_class(lambda answers, labels: [(answers == labels).float().mean()] * 10)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is the share over all digits together.
    """
    function = answer_function(answer, "(answers, labels)")
    if function is None:
        return
    labels = torch.arange(10).repeat(4)
    answers = labels.clone()
    answers[:10:3] = 5  # 0, 3, 6 and 9 are wrong once
    right = (answers == labels).double()
    shares = torch.stack([right[labels == digit].mean() for digit in range(10)])
    among_answers = torch.stack([right[answers == digit].mean() for digit in range(10)])
    with leaves_no_trace("by_class(answers, labels)", answers=answers, labels=labels):
        found = function(answers, labels)
    judge_numbers(
        found,
        shares,
        right="Each digit is judged by its own images.",
        mistakes={
            "That is the share over all digits together.": right.mean().expand(10),
            "Count among the images of a digit, not among the answers.": among_answers,
            "Those are counts: divide by the number of images of each digit.": shares * 4,
        },
        tolerance=1e-6,
    )


def quiet_saliency(answer: object) -> None:
    """Check ``quiet_saliency(model, image)``: gradient of the largest logit, no trace left.

    Raises:
        WrongAnswer: the gradient is wrong, or something is not as it was: a ``.grad``, a flag.
        TypeError: `answer` is not a function, or returns no numbers.

    >>> quiet_saliency(lambda model, image: image)
    Traceback (most recent call last):
    gradbook.check.answers.WrongAnswer: That is not the gradient of the largest logit.
    """
    function = answer_function(answer, "(model, image)")
    if function is None:
        return
    linear = nn.Linear(4, 3, dtype=torch.float64, device="meta").to_empty(device="cpu")
    model = nn.Sequential(nn.Flatten(), linear)
    image = torch.tensor([[[0.5, 0.1], [0.0, 1.0]]], dtype=torch.float64)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            values = torch.arange(parameter.numel(), dtype=torch.float64) + number
            parameter.copy_(values.sin().reshape(parameter.shape))
        weight = next(model.parameters())
        largest = weight[model(image[None])[0].argmax()].reshape(image.shape).clone()
    # Gradients that wait for a step: whoever clears "his own" at the end would lose them.
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    with leaves_no_trace("quiet_saliency(model, image)", model=model, image=image):
        found: Any = function(model, image)
    if not isinstance(found, torch.Tensor):
        raise TypeError(f"expected a tensor of the shape of the image, got {found!r}")
    if found.shape != image.shape:
        raise WrongAnswer(
            f"The result has shape {tuple(found.shape)}, the image {tuple(image.shape)}."
        )
    if not torch.allclose(found.detach(), largest):
        raise WrongAnswer("That is not the gradient of the largest logit.")
    print("Right. autograd.grad returns the gradient and leaves every .grad alone.")
