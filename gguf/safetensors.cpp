#include "gguf/safetensors.h"

#include <algorithm>
#include <array>
#include <iterator>
#include <numeric>
#include <system_error>

#include "engine/core/file.h"
#include "engine/core/text.h"
#include "gguf/cursor.h"
#include "gguf/safetensors_json.h"

namespace lm::safetensors {
namespace {

// Bounds on untrusted text. The format allows 100 MB of header; the largest published shard or
// single file needs less than a tenth of this.
constexpr uint64_t kMaxHeaderBytes = uint64_t{1} << 24;
constexpr uint64_t kMaxIndexBytes = uint64_t{1} << 25;
constexpr std::string_view kIndexSuffix = ".index.json";

struct Format {
  std::string_view name;
  int bytes;
};

// In the order of ElementType.
constexpr std::array<Format, 15> kFormats = {{
    {"F64", 8},
    {"F32", 4},
    {"F16", 2},
    {"BF16", 2},
    {"F8_E4M3", 1},
    {"F8_E5M2", 1},
    {"I64", 8},
    {"I32", 4},
    {"I16", 2},
    {"I8", 1},
    {"U8", 1},
    {"U16", 2},
    {"U32", 4},
    {"U64", 8},
    {"BOOL", 1},
}};

Error bad(std::string message) {
  return Error{ErrorCode::bad_file, std::move(message)};
}

// The tensors must cover `data` exactly, in whatever order they are named.
Status check_coverage(const std::vector<TensorInfo>& tensors, std::span<const std::byte> data) {
  std::vector<uint32_t> order(tensors.size());
  std::iota(order.begin(), order.end(), 0u);
  const auto begin = [&](uint32_t i) { return uint64_t(tensors[i].bytes.data() - data.data()); };
  std::sort(order.begin(), order.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(begin(a), tensors[a].bytes.size()) <
           std::pair(begin(b), tensors[b].bytes.size());
  });
  uint64_t end = 0;
  for (const uint32_t i : order) {
    if (begin(i) != end) {
      return bad(concat("tensor ", printable(tensors[i].name), ": expected its data to start at ",
                        end, ", where the tensor before it ends, found ", begin(i)));
    }
    end += tensors[i].bytes.size();
  }
  if (end != data.size()) {
    return bad(concat("expected tensors to cover ", data.size(), " bytes of data, found ", end));
  }
  return ok();
}

Status sort_unique(std::vector<TensorInfo>& tensors) {
  std::sort(tensors.begin(), tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  const auto twice =
      std::adjacent_find(tensors.begin(), tensors.end(),
                         [](const TensorInfo& a, const TensorInfo& b) { return a.name == b.name; });
  if (twice == tensors.end()) return ok();
  return bad(concat("tensor ", printable(twice->name), " occurs twice"));
}

// In tensors sorted by name; nullptr when absent.
const TensorInfo* find(const std::vector<TensorInfo>& tensors, std::string_view name) {
  const auto at =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const TensorInfo& a, std::string_view b) { return a.name < b; });
  return at == tensors.end() || at->name != name ? nullptr : &*at;
}

// One file in memory.
Result<Header> parse_file(std::span<const std::byte> bytes) {
  gguf::Cursor in(bytes);
  const auto length = in.number<uint64_t>();
  if (!length) {
    return bad(concat("expected a safetensors file, found ", bytes.size(), " bytes"));
  }
  if (*length > kMaxHeaderBytes || *length > in.remaining()) {
    return bad(concat("expected a safetensors file with a header of at most ", kMaxHeaderBytes,
                      " bytes inside the file, found a length of ", *length, " in a file of ",
                      bytes.size()));
  }
  const auto text = in.take(*length);
  const auto data = in.take(in.remaining());
  if (text->empty() || text->front() != std::byte{'{'}) {
    return bad("expected a safetensors file, found no header that starts with '{'");
  }
  Header header = LM_TRY(parse_header(
      std::string_view(reinterpret_cast<const char*>(text->data()), text->size()), *data));
  LM_TRY(check_coverage(header.tensors, *data));
  LM_TRY(sort_unique(header.tensors));
  return header;
}

// What open() is given → the file or index that it means.
Result<std::filesystem::path> resolve(const std::filesystem::path& path) {
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored)) return path;
  for (const char* name : {"model.safetensors", "model.safetensors.index.json"}) {
    if (std::filesystem::exists(path / name, ignored)) return path / name;
  }
  return bad(concat("expected model.safetensors or model.safetensors.index.json in ",
                    printable(path.native(), 1000), ", found neither"));
}

}  // namespace

std::string_view element_type_name(ElementType type) {
  return kFormats[size_t(type)].name;
}
int element_bytes(ElementType type) {
  return kFormats[size_t(type)].bytes;
}

std::optional<ElementType> element_type_from_name(std::string_view name) {
  for (size_t i = 0; i < kFormats.size(); ++i) {
    if (kFormats[i].name == name) return ElementType(i);
  }
  return std::nullopt;
}

struct File::Impl {
  std::vector<MappedFile> maps;  // empty when the bytes are the caller's
  Header header;                 // of all shards together

  Result<Header> load(const std::filesystem::path& path) {
    MappedFile map = LM_TRY(MappedFile::open(path));
    Result<Header> loaded = parse_file(map.bytes());
    if (!loaded.ok()) return std::move(loaded).error().within(printable(path.native(), 1000));
    maps.push_back(std::move(map));
    return loaded;
  }

  Status load_sharded(const std::filesystem::path& index_path);
};

Status File::Impl::load_sharded(const std::filesystem::path& index_path) {
  const MappedFile map = LM_TRY(MappedFile::open(index_path));
  const std::span<const std::byte> text = map.bytes();
  if (text.size() > kMaxIndexBytes) {
    return bad(
        concat("expected an index of at most ", kMaxIndexBytes, " bytes, found ", text.size()));
  }
  const std::vector<Shard> shards = LM_TRY(
      parse_index(std::string_view(reinterpret_cast<const char*>(text.data()), text.size())));
  for (const Shard& shard : shards) {
    std::filesystem::path path = index_path;
    path.replace_filename(shard.file_name);
    Header part = LM_TRY(load(path));
    for (const std::string& name : shard.tensors) {
      if (find(part.tensors, name) == nullptr) {
        return bad(concat("expected tensor ", printable(name), " in ", printable(shard.file_name),
                          ", as the index says, found none"));
      }
    }
    if (header.tensors.size() + part.tensors.size() > kMaxTensors) {
      return bad(concat("expected at most ", kMaxTensors, " tensors in all shards"));
    }
    std::move(part.tensors.begin(), part.tensors.end(), std::back_inserter(header.tensors));
    header.metadata.merge(part.metadata);
  }
  return sort_unique(header.tensors);
}

Result<File> File::open(const std::filesystem::path& path) {
  const std::filesystem::path resolved = LM_TRY(resolve(path));
  auto impl = std::make_shared<Impl>();
  if (resolved.native().ends_with(kIndexSuffix)) {
    Status status = impl->load_sharded(resolved);
    if (!status.ok()) return std::move(status).error().within(printable(resolved.native(), 1000));
  } else {
    impl->header = LM_TRY(impl->load(resolved));
  }
  return File(std::move(impl));
}

Result<File> File::parse(std::span<const std::byte> bytes) {
  auto impl = std::make_shared<Impl>();
  impl->header = LM_TRY(parse_file(bytes));
  return File(std::move(impl));
}

std::span<const TensorInfo> File::tensors() const {
  return impl_->header.tensors;
}

const TensorInfo* File::tensor(std::string_view name) const {
  return find(impl_->header.tensors, name);
}

void File::release() const {
  for (const MappedFile& map : impl_->maps) map.release(map.bytes());
}

std::string_view File::metadata(std::string_view key) const {
  const auto at = impl_->header.metadata.find(key);
  return at == impl_->header.metadata.end() ? std::string_view() : std::string_view(at->second);
}

}  // namespace lm::safetensors
