"""Two processes with one gamble each, whose metrics are worked out by hand."""

import numpy as np

G = 0.9

# u and v lead to x with 0.7 and 0.2, else to y; x and y stay where they are and are rewarded with 1 and 0.
U, V, X, Y = range(4)
GAMBLE = np.zeros((4, 1, 4))
GAMBLE[U, 0, [X, Y]] = 0.7, 0.3
GAMBLE[V, 0, [X, Y]] = 0.2, 0.8
GAMBLE[X, 0, X] = GAMBLE[Y, 0, Y] = 1
GAMBLE_REWARD = np.array([[0.0], [0.0], [1.0], [0.0]])
ONLY = np.ones((4, 1))
FAR = 1 / (1 - G)  # the distance of x and y

# The same with the chance in the policy: action 0 leads to x, action 1 to y.
CHOICE = np.array([[X, Y], [X, Y], [X, X], [Y, Y]])
CHOICE_POLICY = np.array([[0.7, 0.3], [0.2, 0.8], [1, 0], [0, 1]])
CHOICE_REWARD = np.array([[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
