// The emulation's <cuda_runtime.h>: found before NVIDIA's when backends/cuda is built for a CPU.
#pragma once
#include "tests/simt/device_functions.h"
#include "tests/simt/runtime.h"
