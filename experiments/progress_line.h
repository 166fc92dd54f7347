// ProgressLine: one line on stderr that says how far a run is, rewritten in place at most five times a second
// by wall clock. It only reads the engine's progress; when it is off it does nothing.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "core/engine.h"

namespace pagelab {

class ProgressLine {
 public:
  /// `total`: requests that there will be; `time_word`: "simulated" or "real".
  ProgressLine(bool on, std::int64_t total, std::string time_word);
  ~ProgressLine() { clear(); }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// Cheap when nothing is due.
  void update(const Engine& engine);
  /// Removes the line, so that other text can be printed.
  void clear();

 private:
  bool on_;
  std::int64_t total_;
  std::string time_word_;
  std::chrono::steady_clock::time_point due_;
  Progress last_;
  bool visible_ = false;
};

/// The text of the line: time, requests, tokens/s since `last`, pool occupancy as a bar, preemptions.
std::string progress_text(const Progress& now, const Progress& last, std::int64_t total,
                          const std::string& time_word);

/// Whether stderr is a terminal.
bool stderr_is_terminal();

}  // namespace pagelab
