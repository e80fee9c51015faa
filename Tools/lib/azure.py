"""Chat traffic: lengths of answers as in a public trace, at random times."""
import datetime
import random

# The quantiles (i + 1/2) / 64 of GeneratedTokens in Azure's conversation trace of 2023 (AzurePublicDataset,
# AzureLLMInferenceTrace_conv.csv; 19,366 requests, 211 on average).
OUTPUTS = [
    14, 28, 37, 43, 47, 51, 54, 58, 63, 66, 70, 73, 76, 79, 82, 84, 86, 88, 89, 91, 93, 94, 96, 98, 100, 103, 105, 108,
    112, 116, 121, 126, 132, 138, 145, 153, 161, 167, 178, 187, 205, 217, 273, 375, 382, 387, 392, 394, 396, 396, 398,
    401, 405, 409, 411, 414, 418, 423, 429, 433, 446, 472, 529, 615,
]


def trace(count, prompt, mean=None, seed=1):
    """One request a second on average, at random times, in the form of the trace: `--trace-speed` is then the rate.

    `mean` scales the answers' lengths to that average.
    """
    draw = random.Random(seed)
    scale = mean * len(OUTPUTS) / sum(OUTPUTS) if mean else 1
    at = datetime.datetime(2023, 11, 16)
    lines = ["TIMESTAMP,ContextTokens,GeneratedTokens"]
    for _ in range(count):
        at += datetime.timedelta(seconds=draw.expovariate(1))
        lines.append(f"{at:%Y-%m-%d %H:%M:%S.%f}0,{prompt},{max(1, round(draw.choice(OUTPUTS) * scale))}")
    return "\n".join(lines) + "\n"
