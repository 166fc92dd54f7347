// trace.json: a timeline in the trace-event format that Perfetto and chrome://tracing open. Steps are slices,
// each request is a track of its states (waiting, running, swapped) with preemptions as marks, and the pool
// and the queues are counters. Streamed; it owns its file and, per request, the time at which its present
// state began.
//
// The size is bounded: once 50,000 steps are drawn only every second one is, after 50,000 more every fourth,
// and so on (counters and step slices alike); after a million request events further ones are left out and
// counted.
#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "core/step.h"
#include "experiments/output_file.h"

namespace pagelab {

class Timeline {
 public:
  explicit Timeline(const std::filesystem::path& path);

  /// Call before on_step of the step in which the request ended.
  void on_finish(const SequenceGroup& group);
  void on_step(const StepRecord& record, std::span<const Decision> decisions);
  /// Ends the open state of a request that the run leaves behind at `now`.
  void on_unfinished(const SequenceGroup& group, Seconds now);
  void complete();

 private:
  struct Ended {
    RequestId request;
    Seconds finished;
  };

  void draw_step(const StepRecord& record);
  void change_state(const Decision& decision, Seconds now);
  /// Draws the state that the request was in since `since`; its next one begins now.
  void end_state(RequestId request, std::string_view state, Seconds since, Seconds now);
  void mark(RequestId request, const Decision& decision, Seconds now);
  bool may_draw_request_event();
  Seconds& since(RequestId request);

  OutputFile file_;
  std::vector<Seconds> since_;  ///< by request: when its present state began; negative: since its arrival
  std::vector<Ended> ended_;
  std::int64_t step_stride_ = 1;
  std::int64_t steps_drawn_ = 0;
  std::int64_t request_events_ = 0;
  std::int64_t request_events_left_out_ = 0;
};

}  // namespace pagelab
