// What the service writes in English, in Chinese: warnings by their kind and form, and the titles of refusals.

const KINDS = {
  full_width: "全角字符", semicolon: "“;”应为“:”", quote: "引号应为“:”", hour_mark: "“时”或“点”应为“:”", dash: "不是“-”的连接符",
  spacing: "单元格内有空格", excel_date: "被 Excel 变成日期或天数", trailing: "时间后有多余字符", double_colon: "连续两个冒号",
  no_hour: "缺少小时", stray_colon: "时间后有多余冒号", no_minute: "缺少分钟", short_minute: "分钟只有一位", long_minute: "分钟有三位",
  no_colon: "没有冒号", hour_24: "24:00 即零点", seconds: "舍去秒", out_of_range: "没有这样的时刻", not_finite: "不是有限的数",
  unreadable: "无法识别", too_long: "比任何读数都长", too_large: "远超出工厂读数的范围",
};

const FORMS = [
  [/^'(.*)' read as (\S+): /s, "“$1”读作 $2：$k"],
  [/^'(.*)' taken as missing: /s, "“$1”按缺失处理：$k"],
  [/^(\d+) characters taken as missing/, "$1 个字符，按缺失处理：$k"],
  [/^(\S+) is not between (\S+) and (\S+): taken as missing$/, "$1 不在 $2 至 $3 之间，按缺失处理"],
  [/^(\S+) minutes after (\w+): the step is taken as missing$/, "在 $2 之后 $1 分钟，此间隔按缺失处理"],
  [/^(\S+) lasts (\S+) minutes: its length taken as missing$/, "$1 持续 $2 分钟，时长按缺失处理"],
  [/^blank, but (\w+) (\S+) and (\w+) (\S+) belong to (\S+): taken as \S+$/, "空白，但 $1 $2 和 $3 $4 对应 $5：按 $5 处理"],
  [/^(\S+), but (\w+) (\S+) and (\w+) (\S+) belong to (\S+): taken as \S+$/, "$1，但 $2 $3 和 $4 $5 对应 $6：按 $6 处理"],
  [/^(\S+) for (\S+) of (\w+): taken as missing$/, "$3 为 $2 时不可能得到 $1，按缺失处理"],
  [/^(\S+) for (\S+) of (\w+): taken as (\S+)$/, "$3 为 $2 时 $1 少了一位，按 $4 处理"],
  [/^(\S+) cannot give (\S+) of (\w+): taken as (\S+)$/, "$1 不可能得到 $2 的 $3，按 $4 处理"],
  [/^the file has no such column/, "文件中没有此列"],
  [/^ignored: version (\S+) removed this reading$/, "已忽略：版本 $1 删除了此读数"],
];

const TITLES = {
  malformed: "请求无法解析", unauthorized: "需要密钥", forbidden: "此密钥没有权限", "not-found": "此处没有内容",
  "method-not-allowed": "此处不能这样操作", "too-slow": "数据传输太慢", "journal-off": "没有日志", "report-off": "没有报告",
  "no-evaluation": "此模型没有评估结果", conflict: "服务当前状态不允许此操作", "too-large": "数据太大", "unsupported-media-type": "文件类型不符",
  "invalid-input": "无法使用此输入", "rate-limited": "请求过于频繁", "head-too-large": "请求头太大", internal: "服务出错",
  "not-ready": "服务尚未就绪", busy: "服务繁忙", "not-journalled": "日志无法写入", "journal-away": "日志无法读取",
};

/** Return the message of a warning in Chinese; one of a form that is not known, as it is. */
export function chineseWarning({ kind, message }) {
  for (const [form, words] of FORMS) {
    const found = form.exec(message);
    if (found) return words.replace(/\$(\d|k)/g, (_, at) => (at === "k" ? (KINDS[kind] ?? kind) : found[at]));
  }
  return message;
}

/** Return the title of a refusal in Chinese, given the last part of its type; null for one that is not known. */
export const chineseTitle = (kind) => TITLES[kind] ?? null;
