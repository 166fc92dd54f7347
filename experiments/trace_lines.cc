#include "experiments/trace_lines.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/error.h"

namespace pagelab {
namespace {

constexpr std::size_t kLongestLine = std::size_t{1} << 24;

}  // namespace

LineReader::LineReader(const std::filesystem::path& file) : name_(file.string()), bytes_(file) {}

bool LineReader::fill() {
  buffer_.erase(0, position_);
  position_ = 0;
  const char* error = nullptr;
  const bool more = bytes_.read(buffer_, error);
  if (error != nullptr) {
    fail(error);
  }
  return more;
}

void LineReader::fail(const std::string& why) const {
  throw InputError(fmt::format("{}:{}: {}", name_, line_ + 1, why));
}

bool LineReader::next(std::string& line) {
  std::size_t searched = position_;
  std::size_t end = 0;
  while ((end = buffer_.find('\n', searched)) == std::string::npos) {
    searched = buffer_.size() - position_;
    if (searched > kLongestLine) {
      fail("a line of more than 16 MiB");
    }
    if (!fill()) {
      if (buffer_.empty()) {
        return false;
      }
      end = buffer_.size();
      break;
    }
  }
  line.assign(buffer_, position_, end - position_);
  position_ = std::min(end + 1, buffer_.size());
  if (!line.empty() && line.back() == '\r') {
    line.pop_back();
  }
  ++line_;
  return true;
}

std::string LineReader::place() const {
  return fmt::format("{}:{}", name_, line_);
}

}  // namespace pagelab
