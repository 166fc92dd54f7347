#include "experiments/cli.h"

#include <CLI/CLI.hpp>
#include <csignal>
#include <cstdio>
#include <exception>
#include <functional>
#include <map>
#include <new>

#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include "core/error.h"
#include "core/policy_registry.h"
#include "experiments/build_info.h"
#include "experiments/cache_sim/cache_sim_command.h"
#include "experiments/calibrate/calibrate_command.h"
#include "experiments/check/check_command.h"
#include "experiments/device_factory.h"
#include "experiments/generate_command.h"
#include "experiments/interrupt.h"
#include "experiments/list_commands.h"
#include "experiments/plugin/new_policy_command.h"
#include "experiments/plugin/plugin.h"
#include "experiments/reproduce/reproduce_command.h"
#include "experiments/run_command.h"
#include "policies/builtin.h"

namespace pagelab {

namespace {

using Command = std::function<int()>;

/// The kinds of devices that draw tokens.
std::vector<std::string> device_kind_names() {
  std::vector<std::string> names;
  for (const DeviceKind& kind : device_kinds()) {
    if (kind.runs_models) {
      names.emplace_back(kind.name);
    }
  }
  return names;
}

constexpr int error_code = 1;
constexpr int usage_code = 2;

int print(const std::string& text) {
  fmt::print("{}", text);
  return 0;
}

const std::map<std::string, kernels::DType> dtypes = {
    {"f32", kernels::DType::f32}, {"bf16", kernels::DType::bf16}, {"f16", kernels::DType::f16}};
const std::map<std::string, Sampling::Method> methods = {{"greedy", Sampling::Method::greedy},
                                                         {"random", Sampling::Method::random},
                                                         {"beam", Sampling::Method::beam}};

/// An option that takes one value each time, and may be given several times.
void repeated(CLI::Option* option, const char* type) {
  option->type_name(type)->expected(1)->take_all()->allow_extra_args(false);
}

void add_run(CLI::App& app, RunOptions& options, Command& command, Interrupt& interrupt) {
  CLI::App* run = app.add_subcommand("run", "Run experiments; each leaves a run folder");
  run->add_option("FILE", options.files, "experiments in TOML")->required();
  repeated(run->add_option("--set", options.overrides,
                           "a value in place of the file's, as key=value; may be repeated"),
           "KEY=VALUE");
  repeated(run->add_option("--plugin", options.plugins,
                           "a shared library of policies, besides those of the files; may be repeated"),
           "FILE.so");
  run->add_option("--out", options.out,
                  "the run folder (absent or empty); of several files the folder that theirs go into")
      ->type_name("DIR");
  run->add_flag("--quiet", options.quiet, "no summary, no log and no progress line; warnings stay");
  run->callback([&] { command = [&] { return run_command(options, interrupt); }; });
}

/// What `pagelab policies` is told.
struct ListOptions {
  std::string which;  ///< AXIS/NAME
  std::vector<std::string> plugins;
};

int list(const ListOptions& options, bool describe) {
  PolicyRegistry builtin;
  register_builtin_policies(builtin);
  Plugins plugins;
  load_plugins(options.plugins, plugins);
  const PolicyRegistry registry = with_plugins(builtin, plugins);
  return print(describe          ? describe_policy(registry, options.which)
               : plugins.empty() ? list_policies(registry)
                                 : describe_plugins(plugins));
}

void add_plugins(CLI::App& command, std::vector<std::string>& plugins) {
  repeated(command.add_option("--plugin", plugins, "a shared library of policies; may be repeated"),
           "FILE.so");
}

void add_lists(CLI::App& app, ListOptions& options, Command& command) {
  CLI::App* policies =
      app.add_subcommand("policies", "List the policies of every axis, or those in a plugin");
  CLI::App* describe = policies->add_subcommand("describe", "Describe one policy and its parameters");
  describe->add_option("AXIS/NAME", options.which, "such as batching/mixed")->required();
  for (CLI::App* taker : {policies, describe}) {
    add_plugins(*taker, options.plugins);
  }
  policies->callback([&command, &options, describe] {
    command = [&options, described = describe->parsed()] { return list(options, described); };
  });
  app.add_subcommand("models", "List the built-in model shapes")->callback([&] {
    command = [] { return print(list_models()); };
  });
}

void add_generate(CLI::App& app, GenerateOptions& options, Command& command) {
  CLI::App* generate = app.add_subcommand("generate", "Continue token ids with a model; prints JSON");
  Sampling& sampling = options.sampling;
  generate->add_option("MODEL", options.model.location, "the folder of a checkpoint, or a built-in shape")
      ->required();
  generate->add_option("--ids", options.ids, "the prompt: token ids, separated by commas")
      ->required()
      ->delimiter(',');
  generate->add_option("--max-new", options.max_new, "new tokens at most")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  generate->add_option("--method", sampling.method, "greedy, random or beam")
      ->transform(CLI::Transformer(methods));
  generate->add_option("--n", sampling.n, "parallel samples, or the beam width")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  generate->add_option("--temperature", sampling.temperature, "of random sampling")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  generate->add_option("--top-k", sampling.top_k, "0: the whole vocabulary")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  generate->add_option("--top-p", sampling.top_p, "probability mass, above 0 up to 1")
      ->capture_default_str()
      ->check(CLI::PositiveNumber & CLI::Range(0.0, 1.0));
  generate->add_option("--seed", options.seed, "of sampling and of random weights")->capture_default_str();
  generate->add_option("--eos", sampling.eos, "the token that ends a sequence");
  generate->add_option("--length-penalty", sampling.length_penalty, "beam: score = sum / length^penalty")
      ->capture_default_str();
  generate->add_option("--device", options.device, "a kind of device")
      ->check(CLI::IsMember(device_kind_names()));
  generate->add_option("--block-size", options.block_size, "slots of a KV block")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  generate->add_option("--threads", options.threads, "0: one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  generate
      ->add_option("--dtype", options.model.dtype,
                   "of the weights: f32, bf16, f16 (default: the checkpoint's)")
      ->transform(CLI::Transformer(dtypes));
  generate->add_option("--kv-dtype", options.kv_dtype, "of K and V: f32 (default), bf16, f16")
      ->transform(CLI::Transformer(dtypes));
  generate->callback([&] { command = [&] { return print(pagelab::generate(options)); }; });
}

void add_calibrate(CLI::App& app, CalibrateOptions& options, Command& command) {
  CLI::App* calibrate =
      app.add_subcommand("calibrate", "Measure a device; writes the description that a simulated one reads");
  calibrate->add_option("--out", options.out, "the description to write")->required()->type_name("FILE.toml");
  calibrate->add_option("--device", options.device, "cpu, cuda or cuda-emulated")->capture_default_str();
  calibrate
      ->add_option("--model", options.models,
                   "a built-in shape or the folder of a checkpoint (default: opt-125m); may be repeated")
      ->type_name("MODEL");
  calibrate->add_option("--threads", options.threads, "of the cpu; 0: one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  calibrate->add_option("--dtype", options.dtype, "of the weights: f32, bf16 (default), f16")
      ->transform(CLI::Transformer(dtypes));
  calibrate->add_option("--kv-dtype", options.kv_dtype, "of K and V: f32, bf16 (default), f16")
      ->transform(CLI::Transformer(dtypes));
  calibrate->add_option("--block-size", options.block_size, "slots of a KV block")
      ->capture_default_str()
      ->check(CLI::Range(1, 256));
  calibrate->add_option("--rounds", options.rounds, "measurements of each step; 0: 5, with --quick 2")
      ->capture_default_str()
      ->check(CLI::Range(0, 1000));
  calibrate->add_flag("--quick", options.quick, "a coarse grid and short contexts: to try the command out");
  calibrate->callback([&] { command = [&] { return print(pagelab::calibrate(options)); }; });
}

void add_reproduce(CLI::App& app, ReproduceOptions& options, Command& command, Interrupt& interrupt) {
  CLI::App* reproduce = app.add_subcommand(
      "reproduce", "Run a paper's figures; leaves CSV files, plots and a page of verdicts");
  reproduce->add_option("DIR", options.paper, "the paper's folder, such as papers/sosp23-pagedattention")
      ->required();
  reproduce->add_option("--figure", options.figures, "only these; may be repeated")->type_name("NAME ...");
  reproduce->add_option("--seeds", options.seeds, "runs of each point, seeded 1, 2, ...")
      ->capture_default_str()
      ->check(CLI::Range(1, 10000));
  reproduce->add_flag("--quick", options.quick, "a quick look: shorter runs, as the figures say");
  reproduce->add_option("--out", options.out, "where results go (default: reproduced/PAPER)")
      ->type_name("DIR");
  reproduce->add_option("--jobs", options.jobs, "runs at a time; 0: one per core")
      ->capture_default_str()
      ->check(CLI::Range(0, 4096));
  reproduce->add_flag("--require-claims", options.require_claims, "a claim that fails is an error");
  reproduce->callback([&] { command = [&] { return reproduce_command(options, interrupt); }; });
}

void add_new_policy(CLI::App& app, NewPolicyOptions& options, Command& command) {
  CLI::App* made =
      app.add_subcommand("new-policy", "Write a plugin with one policy, an experiment and a test");
  made->add_option("AXIS", options.axis, "such as scheduling (pagelab policies lists them)")->required();
  made->add_option("NAME", options.name, "of the policy: small letters, digits and '_'")->required();
  made->add_option("DIR", options.folder, "where its files go")->required();
  made->callback([&] { command = [&] { return print(new_policy(options)); }; });
}

void add_cache_sim(CLI::App& app, CacheSimOptions& options, Command& command) {
  CLI::App* simulate = app.add_subcommand(
      "cache-sim", "Run a trace of block references through eviction policies, against the optimum");
  simulate
      ->add_option("TRACE", options.trace,
                   "block ids: .u32 (binary), .jsonl (prompts with hash_ids) or one a line; .xz is unpacked")
      ->required();
  repeated(simulate->add_option("--policy", options.policies,
                                "an eviction policy; may be repeated (default: all of them)"),
           "NAME");
  repeated(simulate->add_option("--capacity", options.capacities, "blocks of the cache; may be repeated")
               ->required(),
           "N");
  repeated(simulate->add_option("--set", options.overrides, "a policy's parameter; may be repeated"),
           "POLICY.KEY=VALUE");
  add_plugins(*simulate, options.plugins);
  simulate
      ->add_option("--block-tokens", options.block_tokens,
                   "tokens that an id of hash_ids stands for (default: 16 or 512, whichever fits)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  simulate->add_option("--csv", options.csv, "where the table goes too")->type_name("FILE");
  simulate->callback([&] { command = [&] { return print(pagelab::cache_sim(options)); }; });
}

void add_check_policy(CLI::App& app, CheckCommandOptions& options, Command& command) {
  CLI::App* check = app.add_subcommand(
      "check-policy",
      "Hold a policy to its contract in thousands of small runs; prints the smallest that fails");
  check->add_option("AXIS/NAME", options.which, "such as batching/mixed")->required();
  repeated(
      check->add_option(
          "--set", options.settings,
          "a parameter that is not to be drawn, as key=value; may be repeated. policy.AXIS.KEY=VALUE: of "
          "another axis"),
      "KEY=VALUE");
  add_plugins(*check, options.plugins);
  check->add_option("--cases", options.cases, "how many")
      ->capture_default_str()
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  check->add_option("--seed", options.seed, "of all that is drawn")->capture_default_str();
  check->add_option("--out", options.out, "the experiment of a failure, instead of printing it")
      ->type_name("FILE.toml");
  check->callback([&] {
    command = [&options] {
      PolicyRegistry builtin;
      register_builtin_policies(builtin);
      Plugins plugins;
      load_plugins(options.plugins, plugins);
      return check_command(with_plugins(builtin, plugins), options);
    };
  });
}

int fail(const std::string& text) {
  fmt::print(stderr, "pagelab: error: {}\n", text);
  return error_code;
}

int guarded(const Command& command) {
  try {
    const int code = command();
    if (std::fflush(stdout) != 0) {
      return fail("cannot write to stdout");
    }
    return code;
  } catch (const std::bad_alloc&) {
    return fail("out of memory");
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}

}  // namespace

int run_cli(int argc, char** argv) {
  CLI::App app{"pagelab: a laboratory for the memory of LLM serving", "pagelab"};
  app.set_version_flag("--version", fmt::format("pagelab {} ({}, {}, {})", build_version(), build_commit(),
                                                build_compiler(), build_type()));
  app.require_subcommand(0, 1);  // no command at all is caught below; so an unknown one is named
  Interrupt interrupt;
  Command command;
  RunOptions run;
  GenerateOptions generate;
  CalibrateOptions calibration;
  ReproduceOptions reproduce;
  CheckCommandOptions check;
  ListOptions lists;
  NewPolicyOptions policy;
  CacheSimOptions cache;
  add_run(app, run, command, interrupt);
  add_lists(app, lists, command);
  add_new_policy(app, policy, command);
  add_generate(app, generate, command);
  add_calibrate(app, calibration, command);
  add_reproduce(app, reproduce, command, interrupt);
  add_check_policy(app, check, command);
  add_cache_sim(app, cache, command);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : usage_code;
  }
  if (!command) {
    fmt::print(stderr, "{}", app.help());
    return usage_code;
  }
  std::signal(SIGXFSZ, SIG_IGN);  // a file that may not grow is then an error like a full disk
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("pagelab", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_pattern("pagelab: %v");
  spdlog::set_level(run.quiet ? spdlog::level::warn : spdlog::level::info);
  return guarded(command);
}

}  // namespace pagelab
