// Copies to shared memory that arrive later: not before the thread waits for them, and then as the
// source is at that time. What reads them too early finds what was there before.
#pragma once

#include "cuda_runtime.h"

#define __pipeline_memcpy_async(to, from, bytes) ::emulated::copy_later(to, from, bytes)
#define __pipeline_commit() ::emulated::commit_copies()
#define __pipeline_wait_prior(groups) ::emulated::wait_for_copies(groups)
