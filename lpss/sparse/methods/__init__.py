"""The methods, by name. A new one is a file here, imported below, and a yaml in conf/method/."""

from lpss.sparse.methods.base import METHODS, Method
from lpss.sparse.methods.dense import Dense
from lpss.sparse.methods.gmp import GMP
from lpss.sparse.methods.lpss import LpSS
from lpss.sparse.methods.lpss_demo import LpSSDemo
from lpss.sparse.methods.rigl import RigL
from lpss.sparse.methods.set import SET
from lpss.sparse.methods.snip import SNIP, SNIPDynamic
from lpss.sparse.methods.static import Static

__all__ = ["GMP", "METHODS", "Dense", "LpSS", "LpSSDemo", "Method", "RigL", "SET", "SNIP", "SNIPDynamic", "Static"]
