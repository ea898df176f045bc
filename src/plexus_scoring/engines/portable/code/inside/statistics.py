"""Averages and spreads of the module ``statistics``, for numbers."""

import math

StatisticsError = ValueError  # the interpreter has no exceptions of one's own


def _numbers(data, least=1):
    numbers = list(data)
    if len(numbers) < least:
        raise ValueError(f"{'one data point' if least == 1 else 'two data points'} at least")
    return numbers


def fmean(data):
    """Return the arithmetic mean as a float."""
    numbers = _numbers(data)
    return math.fsum(numbers) / len(numbers)


def mean(data):
    """Return the arithmetic mean: an integer where the numbers and it are such."""
    numbers = _numbers(data)
    if any(isinstance(number, float) for number in numbers):
        return fmean(numbers)
    total = sum(numbers)
    whole = isinstance(total, int) and total % len(numbers) == 0
    return total // len(numbers) if whole else total / len(numbers)


def median(data):
    """Return the middle value, or the mean of the two middle ones."""
    numbers = sorted(_numbers(data))
    half = len(numbers) // 2
    return numbers[half] if len(numbers) % 2 else (numbers[half - 1] + numbers[half]) / 2


def mode(data):
    """Return the most frequent value, the first of several."""
    counts = {}
    for value in _numbers(data):
        counts[value] = counts.get(value, 0) + 1
    most = max(counts.values())
    return [value for value, count in counts.items() if count == most][0]


def pvariance(data, less=0):
    """Return the variance of a population; `less` 1: of a sample."""
    numbers = _numbers(data, 1 + less)
    middle = math.fsum(numbers) / len(numbers)
    return math.fsum([(number - middle) ** 2 for number in numbers]) / (len(numbers) - less)


def variance(data):
    """Return the variance of a sample."""
    return pvariance(data, 1)


def pstdev(data):
    """Return the standard deviation of a population."""
    return math.sqrt(pvariance(data))


def stdev(data):
    """Return the standard deviation of a sample."""
    return math.sqrt(pvariance(data, 1))
