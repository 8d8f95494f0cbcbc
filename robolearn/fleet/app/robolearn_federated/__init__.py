"""The app that Flower ships: names only. The code that runs is the robolearn that each end has installed."""
