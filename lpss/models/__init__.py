"""The models, by name. A new one is a file here, imported below, and a yaml in conf/model/."""

from lpss.models.base import MODELS, build_model, choose_model
from lpss.models.cnn import CNNFashionMnist, CNNMnist
from lpss.models.mlp import MLP
from lpss.models.wrn import WRN

__all__ = ["MLP", "MODELS", "WRN", "CNNFashionMnist", "CNNMnist", "build_model", "choose_model"]
