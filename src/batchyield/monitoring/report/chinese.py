"""The texts of the drift report in Chinese, by the English ones; the words are those of the console."""

NOUNS = {
    "batch": "{} 个批次",
    "group": "{} 组",
    "outcome": "{} 个实测值",
    "prediction": "{} 次预测",
    "hour": "{} 小时",
    "day": "{} 天",
}
"""Noun -> a number of them."""

TEXTS = {
    # sentences, lists, numbers, times, names
    " ": "",
    ", ": "、",
    " and ": "、",
    "; ": "；",
    "{names} and {count} more": "{names} 等 {all} 项",
    "{value} ({lower} to {upper})": "{value}（{lower}～{upper}）",
    "{number} points": "{number} 个百分点",
    "{number} seconds": "{number} 秒",
    "{number} minutes": "{number} 分钟",
    "{number} hours": "{number} 小时",
    "%d %b %Y, %H:%M UTC": "%Y-%m-%d %H:%M UTC",
    "%d %b": "%m-%d",
    "{target}, as a fraction": "{target}（小数）",
    "feature number": "{of[0]}",
    "feature length": "{of[0]}的时长",
    "feature step": "{of[0]}至{of[1]}的间隔",
    "feature clock": "{of[0]}的时刻",
    # summary
    "no data": "无数据",
    "This model answered no batch in this time.": "此时段内该模型没有预测任何批次。",
    "too few batches": "批次太少",
    "{batches} are too few to judge drift; {needed} are needed.": "只有 {batches}，不足以判断漂移，需要 {needed} 个。",
    "{count} more readings": "另外 {count} 项读数",
    "the predicted {target}": "预测{target}",
    "{names} has moved away from the training data": "已偏离训练数据：{names}",
    "{names} have moved away from the training data": "已偏离训练数据：{names}",
    "the model is worse than its card promises, by measured {targets}": "按实测{target}，模型比卡片的标称值差",
    "steady": "稳定",
    "All {count} readings and the predicted {targets} look like the training data.": (
        "全部 {count} 项读数和预测{target}均与训练数据相符。"
    ),
    "needs attention": "需要关注",
    "{text}.": "{text}。",
    # statements
    "Readings": "读数",
    "Predicted {target}": "预测{target}",
    "Newest batches": "最新批次",
    "Error": "误差",
    "too few": "数量太少",
    "{count} of {needed} needed; no verdict yet.": "现有 {count}，需要 {needed} 个，暂无结论。",
    "{count} of {all} moved": "{all} 项中 {count} 项漂移",
    "Most certain first: {names}.": "按确定程度从高到低：{names}。",
    "No reading moved by more than chance and by enough to matter.": "没有读数的变化既超出偶然波动，又大到值得重视。",
    "Mean {mean}; in the training {trained}.": "均值 {mean}，训练时 {trained}。",
    "moved": "漂移",
    "no point yet": "尚无数据点",
    "The control chart has no complete group.": "控制图还没有完整的一组。",
    "The control chart has no complete group of {size} batches.": "控制图还没有完整的一组（{size} 个批次）。",
    "within limits": "在控制限内",
    "The newest group of batches is within the limits.": "最新一组批次在控制限内。",
    "beyond limits": "超出控制限",
    "The newest group, or its moving average, is beyond a limit.": "最新一组的均值或其移动平均超出控制限。",
    "Mean error {error}.": "平均绝对误差 {error}。",
    "Mean error {error}; promised {promised}.": "平均绝对误差 {error}，标称值 {promised}。",
    "Without bias update: {error}.": "无偏差更新时：{error}。",
    "as promised": "符合标称值",
    "worse: {figures}": "变差：{figures}",
    "mean error": "平均绝对误差",
    "bias": "偏差",
    "intervals": "区间覆盖率",
    # drifted readings
    "blank in {now} of the batches, before in {before}": "{now} 的批次空白，训练时为 {before}",
    "{share} of the values do not occur in the training": "{share} 的值在训练中未出现",
    "median {before} → {now}": "中位数 {before} → {now}",
    "median still {median}, {change}": "中位数仍为 {median}，{change}",
    "mean {before} → {now}": "均值 {before} → {now}",
    "the spread changed": "离散程度改变",
    "no value came, so there is no chart": "没有收到任何数值，因此没有图",
    "{feature}; training behind, these batches in front": "{feature}；训练批次在后，本报告的批次在前",
    # next steps
    "Do not act on single predictions for now: by measured {targets} the model is worse than its card promises "
    "({figures}). Train again with the batches whose {target} is known, and compare with `batchyield model replay` "
    "before the new model serves.": (
        "暂时不要依据单个预测采取行动：按实测{target}，模型比卡片的标称值差（{figures}）。请用{target}已知的批次重新训练，"
        "并在新模型投入使用前用 `batchyield model replay` 进行比较。"
    ),
    "The bias update is at its limit for {share} of the newest batches: the plant moved further than it may correct. "
    "Train again with the batches whose {target} is known.": (
        "{share} 的最新批次的偏差更新已达上限：工厂的变化超出了允许修正的幅度。请用{target}已知的批次重新训练。"
    ),
    "Find out why {names} came blank so often: sensor, logging sheet, or file export. The model replaces a blank by "
    "what it learned from blanks, which is less than it learns from a value.": (
        "查明以下读数经常空白的原因（传感器、记录表，还是文件导出）：{names}。"
        "遇到空白时，模型只能依据从空白中学到的规律，所得信息比实际数值少。"
    ),
    "Ask the shift whether {names} moved on purpose (recipe, raw material, set point). If not, check the instrument. "
    "If so, train the model on batches of the new state once their {targets} are measured.": (
        "向当班人员确认以下读数的变化是否有意为之（配方、原料、设定值）：{names}。如果不是，请检查仪表；"
        "如果是，待新状态的批次测得{target}后，用这些批次训练模型。"
    ),
    "Measured {targets} still agree with the model, so there is time; keep sending outcomes.": (
        "实测{target}仍与模型相符，因此不必着急；请继续上报实测值。"
    ),
    "Send measured {targets} (`POST /v1/outcomes`): with {count} more the error itself can be judged, which no "
    "comparison of inputs replaces.": (
        "请上报实测{target}（`POST /v1/outcomes`）：再有 {count} 个就能直接判断误差，这是比较输入所不能代替的。"
    ),
    "Check that the service keeps a journal, that this is the one, and that the model is the right one.": (
        "请检查服务是否保存日志、所用的是否为该日志，以及模型是否正确。"
    ),
    "Repeat the report when {needed} batches are in, or choose a longer time with `--since`.": (
        "待收到 {needed} 个批次后重新生成报告，或用 `--since` 选择更长的时段。"
    ),
    "None. Repeat the report next week, or rely on the alerts.": "无。下周重新生成报告，或依靠报警。",
    # axes of the charts
    "mean predicted {stored}": "预测均值：{stored}",
    "groups of {size} batches, oldest first": "按时间顺序的组（每组 {size} 个批次）",
    "groups of {size} measured batches, oldest first": "按时间顺序的组（每组 {size} 个实测批次）",
    "day (UTC)": "日期（UTC）",
    "batches": "批次",
    "mean absolute error": "平均绝对误差",
    "share of batches": "批次占比",
    # page
    "Drift report: {summary}": "漂移报告：{summary}",
    "Drift report · model {name}": "漂移报告 · 模型 {name}",
    "{batches}, {since} to {until}": "{batches}，{since} 至 {until}",
    "Next steps": "下一步",
    "What moved": "漂移的读数",
    "Most certain first.": "按确定程度从高到低。",
    "batches of the training": "训练批次",
    "batches of this report": "本报告的批次",
    "{name}: {caption}. {changes}.": "{name}：{caption}。{changes}。",
    "{count} more are in the table at the end.": "另有 {count} 项见文末的表格。",
    "Predicted {target} over time": "预测{target}随时间的变化",
    "Control chart of {groups} groups of {size} batches. Limits {lower} to {upper}, center {center}; the newest group "
    "is at {newest}; {out} of all are beyond a limit.": (
        "控制图，共 {groups} 组，每组 {size} 个批次。控制限 {lower} 至 {upper}，中心线 {center}；最新一组为 {newest}；"
        "共有 {out} 组超出控制限。"
    ),
    "mean of {size} batches": "{size} 个批次的均值",
    "moving average": "移动平均",
    "limits of a steady plant ({lower} to {upper}). Triangles: the mean or its moving average is beyond a limit.": (
        "工厂稳定时的控制限（{lower} 至 {upper}）。三角形：均值或其移动平均超出控制限。"
    ),
    "{out} of {groups} is beyond a limit.": "{groups}中有 {out} 组超出控制限。",
    "{out} of {groups} are beyond a limit.": "{groups}中有 {out} 组超出控制限。",
    "In a steady plant, one or two groups in a hundred are beyond a limit by chance. Check a single one; several in a "
    "row are an alarm.": "工厂稳定时，每一百组中也有一两组偶然超出控制限。单独一组应予核查；连续几组即为报警。",
    "Predicted against measured {targets}": "预测与实测{target}对比",
    "{count} with a measured {target}; in brackets the 95 % confidence limits": (
        "{count}有实测{target}；括号内为 95 % 置信区间"
    ),
    "figure": "指标",
    "measured here": "本报告实测",
    "without bias update": "无偏差更新",
    "promised": "标称值",
    "predicted less measured": "预测减实测",
    "{targets} inside their interval": "实测{target}在预测区间内",
    "Mean absolute error of consecutive groups of measured batches.": "按时间顺序各组实测批次的平均绝对误差。",
    "Mean absolute error of consecutive groups of measured batches; promised {promised}.": (
        "按时间顺序各组实测批次的平均绝对误差；标称值 {promised}。"
    ),
    "mean absolute error of each group": "各组的平均绝对误差",
    "promise of the model's card": "模型卡片的标称值",
    "Arrival of batches": "批次到达情况",
    "Batches answered per day, from {since} to {until}.": "每天预测的批次数，{since} 至 {until}。",
    "{number} batches a day.": "平均每天 {number} 个批次。",
    "The longest time between two responses was {duration}.": "两次预测的最长间隔为 {duration}。",
    "{count} had none.": "有 {count}没有批次。",
    "Missing cells": "空白单元格",
    "Readings whose share of blanks differs from the training by a point or more": (
        "空白比例与训练相差一个百分点或更多的读数"
    ),
    "reading": "读数",
    "description": "含义",
    "training": "训练",
    "here": "本报告",
    "All {count} readings": "全部 {count} 项读数",
    "Medians; PSI: population stability index, 0.1 or more matters; p: adjusted for the tests of all {count} readings "
    "(Holm–Bonferroni)": (
        "数值为中位数；PSI：群体稳定性指数，达到 0.1 值得重视；p：已按全部 {count} 项读数的检验校正（Holm–Bonferroni）"
    ),
    "feature tested": "检验的特征",
    "blank": "空白",
    "new": "新值",
    "verdict": "结论",
    "drifted": "漂移",
    "Data of this report": "本报告的数据",
    "model": "模型",
    "{name}, md5 <code>{md5}</code>, trained on {batches}": "{name}，md5 <code>{md5}</code>，用 {batches}训练",
    "{count} that this model answered; of repeated requests for a batch, the last": (
        "该模型预测的 {count}；同一批次多次请求时取最后一次"
    ),
    "; older ones of this time are left out": "；此时段中更早的批次未计入",
    "left out": "未计入",
    "{count} of another model, version {version}, md5 <code>{md5}</code>": (
        "另一模型的 {count}，版本 {version}，md5 <code>{md5}</code>"
    ),
    "verdicts": "结论",
    "a reading counts as moved if chance explains the difference in fewer than 1 of 100 reports, with all readings "
    "tested at once (Holm–Bonferroni), and if it is large enough to matter. Campaigns of similar batches move readings "
    "by more than chance: check whether the change is intended before treating it as a fault.": (
        "同时检验全部读数（Holm–Bonferroni），若偶然出现这种差异的报告少于百分之一，且差异大到值得重视，则判为漂移。"
        "连续生产相似批次时，读数的变化也会超出偶然波动：在当作故障处理之前，请先确认该变化是否有意为之。"
    ),
}
"""English text -> the Chinese one, with the same names in braces."""
