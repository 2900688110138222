from package.factor import FACTOR


def scaled(x):
    return FACTOR * x
