"""Small stand-ins of optional packages: their published Python interfaces, computed on the CPU in plain PyTorch.

They take exactly the arguments that the packages take, refuse what those refuse, and return what their documentation
says, so that an adapter which gives a wrong name, order, type or convention fails. None of it is the packages' code.
"""
