"""The optimizers. Importing this package loads no torch.

steps.py             the mathematics: one step of LpSGD and of LpSGD-m in torch operations
backends.py          the same steps by the fastest code there is: C (c_step.py), Triton (triton_step.py) or steps.py
sphere_optimizer.py  the torch API around them;  lpsgd.py, sgd.py: the optimizers, a class each
base.py, build.py    how an optimizer is registered and built from a config
protocol.py          what sparse methods ask of any optimizer
groups.py            parameter groups by rules on p;  schedules.py: learning rate factors
"""
