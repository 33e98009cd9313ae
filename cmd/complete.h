/* SPDX-License-Identifier: Apache-2.0 */
#pragma once
/*
 * `secretfs __complete WORD...`, which the completion of shells calls and people do not. It
 * completes the last word.
 *
 * It prints a candidate a line, then a colon and a number, as a plug-in of kubectl has to. Source:
 * k8s.io/kubectl, docs of kubectl's plug-ins; github.com/spf13/cobra, ShellCompDirective.
 */
#include "cmd/shared/command.h"

command_fn command_complete;
