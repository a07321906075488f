#include "engine/model/passage.h"

#include "engine/core/check.h"

namespace lm {

const RoomWork& Passage::at(const Tensor& weight) const {
  size_t i = 0;
  while (&rooms_[i].a.x.room() != &weight.room()) {
    ++i;
    LM_CHECK(i < rooms_.size());
  }
  return rooms_[i];
}

const RoomWork& Passage::enter(const Tensor& weight) {
  const RoomWork& there = at(weight);
  carry(here_->a.x, there.a.x);
  here_ = &there;
  return there;
}

void Passage::carry(const Tensor& from, const Tensor& to) const {
  if (&from.room() == &to.room()) return;
  const size_t bytes = size_t(from.rows() * from.row_bytes);
  LM_CHECK(bytes == size_t(to.rows() * to.row_bytes) && bytes <= staging_.size());
  const std::span<std::byte> staging = staging_.first(bytes);
  from.room().download(staging, from);
  to.room().upload(to, staging);
}

}  // namespace lm
