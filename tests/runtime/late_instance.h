// tests/runtime/late_instance.h — a model on the backend that does its work as late as it may.
#pragma once
#include <memory>

#include "tests/runtime/support.h"
#include "tests/support/late_backend.h"

namespace lm::test {

template <Lateness& kLateness>
std::unique_ptr<Instance> open_late(const InstanceOptions& options) {
  return require_ok(Instance::open(late_registry<kLateness>(), options));
}

}  // namespace lm::test
