#include "gguf/safetensors_writer.h"

#include <algorithm>

#include "engine/core/checked.h"
#include "engine/core/file.h"
#include "engine/core/json.h"
#include "engine/core/text.h"

namespace lm::safetensors {

Status Writer::add_tensor(std::string name, ElementType type, std::vector<int64_t> shape) {
  const auto same = [&](const Entry& entry) { return entry.name == name; };
  if (name.empty() || std::ranges::any_of(entries_, same)) {
    return Error{ErrorCode::bad_request,
                 concat("expected a tensor name of its own, found '", printable(name), "'")};
  }
  std::optional<uint64_t> length = uint64_t(element_bytes(type));
  for (const int64_t dim : shape) {
    if (dim < 0) length = std::nullopt;
    if (length) length = checked_mul(*length, uint64_t(dim));
  }
  const auto end = length ? checked_add(end_, *length) : std::nullopt;
  if (!end) {
    return Error{ErrorCode::bad_request,
                 concat("tensor ", printable(name), ": expected fewer than 2^64 bytes")};
  }
  entries_.push_back({std::move(name), type, std::move(shape), end_, *end});
  end_ = *end;
  return ok();
}

std::string Writer::header() const {
  Json header = Json::object();
  header["__metadata__"] = {{"format", "pt"}};
  for (const Entry& entry : entries_) {
    header[entry.name] = {{"dtype", element_type_name(entry.type)},
                          {"shape", entry.shape},
                          {"data_offsets", {entry.begin, entry.end}}};
  }
  std::string text = dump_json(header);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // so that the data are aligned
  return text;
}

Status Writer::write(const std::filesystem::path& path, const Fill& fill) const {
  FileWriter file = LM_TRY(FileWriter::create(path));
  const std::string text = header();
  const uint64_t length = text.size();
  LM_TRY(file.write(std::as_bytes(std::span(&length, 1))));
  LM_TRY(file.write(text));
  const uint64_t start = file.size();
  for (size_t i = 0; i < entries_.size(); ++i) {
    LM_TRY(fill(i, [&](std::span<const std::byte> bytes) { return file.write(bytes); }));
    if (file.size() - start != entries_[i].end) {
      return Error{ErrorCode::bad_request,
                   concat("tensor ", printable(entries_[i].name), ": expected ",
                          entries_[i].end - entries_[i].begin, " bytes, was given others")};
    }
  }
  return file.commit();
}

}  // namespace lm::safetensors
