#include "engine/core/machine.h"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "engine/core/text.h"

namespace lm {
namespace {

std::optional<std::string> first_line(const std::string& path) {
  std::ifstream in(path);
  std::string line;
  if (!std::getline(in, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> number_in(const std::string& path) {
  const std::optional<std::string> line = first_line(path);
  if (!line) return std::nullopt;
  const std::optional<int64_t> value = parse_int(*line);  // "max" is no number: no limit
  if (!value || *value < 0) return std::nullopt;
  return uint64_t(*value);
}

// This process's folders in the cgroup tree, innermost first, for one controller of v1 or for v2.
// Inside a container the namespace's root is also mounted, so the root itself is always looked at.
std::vector<std::string> cgroup_folders(const std::string& mount, const std::string& controller) {
  std::vector<std::string> folders;
  std::ifstream in("/proc/self/cgroup");
  for (std::string line; std::getline(in, line);) {  // "4:cpu,cpuacct:/path" or "0::/path"
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const bool ours = controller.empty()
                          ? controllers == ",,"
                          : controllers.find("," + controller + ",") != std::string::npos;
    if (!ours) continue;
    std::string path = line.substr(second + 1);
    while (path.size() > 1) {
      folders.push_back(mount + path);
      path.erase(path.find_last_of('/'));
    }
  }
  folders.push_back(mount);
  return folders;
}

// Whole cores granted by the CPU quota, rounded up; a huge number when there is none.
int cpu_quota() {
  double cores = std::numeric_limits<int>::max();
  for (const std::string& folder : cgroup_folders("/sys/fs/cgroup", "")) {
    const std::optional<std::string> line = first_line(folder + "/cpu.max");  // "200000 100000"
    if (!line) continue;
    std::istringstream fields(*line);
    double quota = 0, period = 0;
    if (fields >> quota >> period && quota > 0 && period > 0)
      cores = std::min(cores, quota / period);
  }
  for (const std::string& folder : cgroup_folders("/sys/fs/cgroup/cpu", "cpu")) {
    const auto quota = number_in(folder + "/cpu.cfs_quota_us");
    const auto period = number_in(folder + "/cpu.cfs_period_us");
    if (quota && period && *period > 0) cores = std::min(cores, double(*quota) / double(*period));
  }
  return std::max(1, int(std::ceil(std::min(cores, 1e6))));
}

// The physical core that a logical processor belongs to: (package, core).
std::pair<uint64_t, uint64_t> core_of(int cpu) {
  const std::string topology = concat("/sys/devices/system/cpu/cpu", cpu, "/topology/");
  const auto package = number_in(topology + "physical_package_id");
  const auto core = number_in(topology + "core_id");
  if (!core) return {~uint64_t{0}, uint64_t(cpu)};  // not told: count it as a core of its own
  return {package.value_or(0), *core};
}

// Bytes of files that a cgroup's usage counts and its kernel drops when memory is asked for.
uint64_t cgroup_file_cache(const std::string& folder, std::string_view prefix) {
  uint64_t bytes = 0;
  std::ifstream in(folder + "/memory.stat");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string name;
    uint64_t value = 0;
    if (!(fields >> name >> value)) continue;
    if (name == concat(prefix, "inactive_file") || name == concat(prefix, "active_file")) {
      bytes += value;
    }
  }
  return bytes;
}

// Bytes left under the container's memory limits; a huge number when there are none.
uint64_t cgroup_memory_left() {
  uint64_t left = std::numeric_limits<uint64_t>::max();
  const auto consider = [&](const std::optional<uint64_t>& limit,
                            const std::optional<uint64_t>& usage, uint64_t cache) {
    if (!limit || !usage) return;
    const uint64_t used = *usage - std::min(*usage, cache);
    left = std::min(left, *limit - std::min(*limit, used));
  };
  for (const std::string& folder : cgroup_folders("/sys/fs/cgroup", "")) {
    consider(number_in(folder + "/memory.max"), number_in(folder + "/memory.current"),
             cgroup_file_cache(folder, ""));
  }
  for (const std::string& folder : cgroup_folders("/sys/fs/cgroup/memory", "memory")) {
    consider(number_in(folder + "/memory.limit_in_bytes"),
             number_in(folder + "/memory.usage_in_bytes"), cgroup_file_cache(folder, "total_"));
  }
  return left;
}

}  // namespace

int usable_cores() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  std::set<std::pair<uint64_t, uint64_t>> cores;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cores.insert(core_of(cpu));
  }
  return std::clamp(int(cores.size()), 1, cpu_quota());
}

int usable_threads() {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return 1;
  return std::clamp(CPU_COUNT(&allowed), 1, cpu_quota());
}

uint64_t available_memory() {
  uint64_t available = uint64_t(sysconf(_SC_AVPHYS_PAGES)) * uint64_t(sysconf(_SC_PAGESIZE));
  std::ifstream in("/proc/meminfo");
  for (std::string line; std::getline(in, line);) {
    std::istringstream fields(line);
    std::string name;
    uint64_t kib = 0;
    if (fields >> name >> kib && name == "MemAvailable:") available = kib << 10;
  }
  return std::min(available, cgroup_memory_left());
}

void reset_peak_rss() {
  std::ofstream("/proc/self/clear_refs") << "5";  // man 5 proc
}

uint64_t peak_rss() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return uint64_t(usage.ru_maxrss) << 10;
}

}  // namespace lm
