#pragma once

// What the graphs of a stage call outside ggml. Everything here is row invariant: the bits of an output row depend on
// that row's inputs alone, never on how many rows share the call, on their order, or on how threads divide the work.
#include "CKernelsActivations.h"
#include "CKernelsChecksum.h"
#include "CKernelsMatmul.h"
#include "attention.h"
