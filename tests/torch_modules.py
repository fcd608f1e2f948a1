"""The elements of the architecture line that torch.nn has no module for, as PyTorch modules."""
import torch
from torch import nn


class Patch(nn.Conv2d):
    def __init__(self, channels, k, width):
        super().__init__(channels, width, k, k)

    def forward(self, x):
        return super().forward(x).flatten(2).transpose(1, 2)


class Cls(nn.Module):
    def __init__(self, width, spread=.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(1, width) * spread)

    def forward(self, x):
        return torch.cat([self.weight.expand(len(x), 1, -1), x], 1)


class Pos(nn.Module):
    def __init__(self, tokens, width, spread=.02):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(tokens, width) * spread)

    def forward(self, x):
        return x + self.weight


class Head(nn.Module):
    def forward(self, x):
        return x[:, 0]


class Tempered(nn.Module):
    def forward(self, x):
        return 2 * torch.sigmoid(1.5 * x) - 1


def encoder(width, heads, hidden, pre=True):
    return nn.TransformerEncoderLayer(width, heads, hidden, 0., activation="gelu", norm_first=pre, batch_first=True)
