// The KV cache on disk, through the real program.
#include "engine/core/json.h"
#include "tests/cli/models.h"
#include "tests/cli/process.h"
#include "tests/support/support.h"
