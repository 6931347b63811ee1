"""The linear probe: the same optimum as scikit-learn's logistic regression."""

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from airframe.config import TrainConfig
from airframe.probe import PENALTIES, fit_linear, start_head
from data.dataset import Item
from models.classifier import Output


def test_the_fit_equals_logistic_regression():
    rng = np.random.default_rng(0)
    labels = np.arange(90) % 3
    centres = np.array([[2, 0, 0, 0], [0, 2, 0, 0], [0, 0, 2, 0]])
    features = centres[labels] + rng.normal(size=(90, 4))
    penalty = 0.01
    # scikit-learn minimises C · sum of NLL + |w|² / 2: divided by C · n, the mean NLL + |w|² / 2Cn.
    oracle = LogisticRegression(C=1 / (2 * 90 * penalty), tol=1e-8, max_iter=1000)
    oracle.fit(features, labels)
    weight, bias = fit_linear(
        torch.tensor(features, dtype=torch.float32),
        torch.tensor(np.eye(3, dtype=bool)[labels]),
        torch.tensor([0, 1, 2]),
        TrainConfig(label_smoothing=0.0, family_weight=0.0),
        penalty,
    )
    ours = (torch.tensor(features).float() @ weight.T + bias).softmax(1).numpy()
    np.testing.assert_allclose(ours, oracle.predict_proba(features), atol=2e-3)


def test_a_larger_penalty_gives_smaller_weights():
    features = torch.randn(60, 5, generator=torch.Generator().manual_seed(1))
    allowed = torch.nn.functional.one_hot(features[:, :3].argmax(1), 3).bool()
    sizes = [
        fit_linear(features, allowed, torch.tensor([0, 0, 1]), TrainConfig(), p)[0].norm().item()
        for p in (0.001, 0.01, 0.1)
    ]
    assert sizes[0] > sizes[1] > sizes[2] > 0


class Flat(nn.Module):
    """A network whose features are the picture itself."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        features = x.flatten(1)
        return Output(self.head(features), features)


def batches(seed, count):
    """`count` batches of ten pictures (1, 2, 2) whose brightest of three pixels is the class."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(count):
        images = torch.randn(10, 1, 2, 2, generator=generator)
        labels = images.flatten(1)[:, :3].argmax(1)
        yield Item(images, torch.nn.functional.one_hot(labels, 3).bool(), torch.arange(10))


def test_the_head_starts_where_the_features_allow():
    network = Flat()
    config = TrainConfig(probe_samples=300, label_smoothing=0.0)
    train, val = list(batches(0, 20)), list(batches(1, 5))  # the train loader is gone round twice
    penalty = start_head(network, train, val, ["photo"] * 50, torch.tensor([0, 1, 2]), config)
    assert penalty in PENALTIES
    fresh = torch.cat([b.image for b in batches(2, 20)])
    labels = fresh.flatten(1)[:, :3].argmax(1)
    with torch.no_grad():
        assert (network(fresh).logits.argmax(1) == labels).float().mean() > 0.9
