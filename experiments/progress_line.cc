#include "experiments/progress_line.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include <fmt/format.h>

namespace pagelab {

namespace {

constexpr auto interval = std::chrono::milliseconds(200);
constexpr int bar_width = 20;

std::size_t terminal_width() {
  winsize size{};
  return ::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

}  // namespace

ProgressLine::ProgressLine(bool on, std::int64_t total, std::string time_word)
    : on_(on),
      total_(total),
      time_word_(std::move(time_word)),
      due_(std::chrono::steady_clock::now() + interval) {}

void ProgressLine::update(const Engine& engine) {
  if (!on_ || std::chrono::steady_clock::now() < due_) {
    return;
  }
  const Progress now = engine.progress();
  std::string text = progress_text(now, last_, total_, time_word_);
  text.resize(std::min(text.size(), terminal_width() - 1));
  fmt::print(stderr, "\r{}\x1b[K", text);
  std::fflush(stderr);
  last_ = now;
  visible_ = true;
  due_ = std::chrono::steady_clock::now() + interval;
}

void ProgressLine::clear() {
  if (visible_) {
    fmt::print(stderr, "\r\x1b[K");
    std::fflush(stderr);
    visible_ = false;
  }
}

std::string progress_text(const Progress& now, const Progress& last, std::int64_t total,
                          const std::string& time_word) {
  const double seconds = (now.now - last.now).value();
  const double rate = seconds > 0 ? static_cast<double>((now.tokens - last.tokens).value()) / seconds : 0;
  const int filled = std::clamp(static_cast<int>(std::lround(now.occupancy * bar_width)), 0, bar_width);
  const std::string bar = std::string(static_cast<std::size_t>(filled), '#') +
                          std::string(static_cast<std::size_t>(bar_width - filled), '.');
  return fmt::format("{:.1f} s {} | {}/{} requests | {:.0f} tokens/s | KV [{}] {:.0f} % | {} preemptions",
                     now.now.value(), time_word, now.finished + now.refused, total, rate, bar,
                     100 * now.occupancy, now.preemptions);
}

bool stderr_is_terminal() {
  return ::isatty(STDERR_FILENO) == 1;
}

}  // namespace pagelab
